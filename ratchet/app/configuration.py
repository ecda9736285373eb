"""Configuration: one TOML file in the data directory, RATCHET_… variables over it; every key described once, here.

`ratchet.toml` is read first. Then each variable `RATCHET_<TABLE>__<KEY>` replaces one key: RATCHET_CONSOLE__LISTEN,
RATCHET_POLICY__TRUSTED_FOR. Its value is read as JSON where it is JSON, else as text. Secrets are never in either: they
are in files that the configuration names.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.app.errors import Exit, Fault
from ratchet.event import Json

PREFIX = "RATCHET_"
NOT_KEYS = frozenset(
    {"RATCHET_DATA", "RATCHET_TRACEBACK", "RATCHET_REQUIRE", "RATCHET_CORPUS", "RATCHET_FEEDS", "RATCHET_OPA"}
    | {"RATCHET_CHROMIUM", "RATCHET_SEED"}
)
"""Variables of ours that are no configuration keys."""

NAME, HEX32, LISTEN = r"^[a-z0-9][a-z0-9-]{0,62}$", r"^[0-9a-f]{64}$", r"^[^\s/]+:\d{1,5}$"
Name = Annotated[str, Field(pattern=NAME)]
Hex32 = Annotated[str, Field(pattern=HEX32)]
Listen = Annotated[str, Field(pattern=LISTEN)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SenderTable(_Table):
    """One sender of evidence."""

    token_sha256: Hex32 = Field(description="SHA-256 of its bearer token, hex: `ratchet config token` makes both")
    rate: float = Field(50.0, gt=0, le=10_000, description="requests a second that it may sustain")
    burst: int = Field(200, ge=1, le=100_000, description="requests that it may send at once")
    gives_challenges: bool = Field(
        False, description="it makes the challenges that evidence must hold; never true of an attester itself"
    )
    vouches_freshness: bool = Field(
        False,
        description="its evidence counts as fresh without a challenge: a collector that follows a log which you trust; "
        "never true of an attester itself",
    )
    bytes_per_day: int = Field(
        4 << 30, ge=1, description="bytes of evidence and endorsements that it may bring on one UTC day"
    )


class EntranceTable(_Table):
    """Where agents send evidence."""

    listen: Listen = Field("127.0.0.1:8642", description="host:port of POST /v1/evidence")
    senders: dict[Name, SenderTable] = Field(default_factory=dict, description="who may send; none: nobody")
    beyond_loopback: bool = Field(
        False, description="listen on an address that other machines reach; put TLS before it"
    )


class ConsoleTable(_Table):
    """The pages that people watch."""

    listen: Listen = Field("127.0.0.1:8643", description="host:port of the console")
    hosts: list[str] = Field(default_factory=list, description="further Host names it may be reached by")
    beyond_loopback: bool = Field(
        False, description="listen on an address that other machines reach; put TLS before it"
    )


class RetentionTable(_Table):
    """For how long what grows is kept. What a machine's standing rests on is never deleted."""

    evidence_days: int | None = Field(
        400, ge=1, le=36_500, description="days that evidence, its verdicts and dead letters are kept; null: for ever"
    )
    alerts_days: int | None = Field(
        400, ge=1, le=36_500, description="days that resolved alerts are kept; null: for ever"
    )


class DiskTable(_Table):
    """The disk that the data directory is on."""

    reserve_mib: int = Field(
        512, ge=0, le=1 << 24, description="MiB that must be free: below them evidence is refused with 503"
    )


class HttpTable(_Table):
    """What each HTTP server bears: connections cost nothing to open, so they are bounded before any token is read."""

    connections: int = Field(512, ge=8, le=65_536, description="connections at once, of each server")
    connections_per_address: int = Field(
        128, ge=1, le=65_536, description="connections at once from one address; behind a proxy, raise it"
    )
    head_seconds: float = Field(10.0, gt=0, le=600, description="until the head of a request must be complete")
    body_seconds: float = Field(30.0, gt=0, le=600, description="until the body of a request must be complete")


class RootTable(_Table):
    """A trust anchor beside the vendors' own: shown wherever a verdict rests on it."""

    name: str = Field(min_length=1, max_length=64, description="shown with every verdict that rests on it")
    vendor: str = Field(description="whose formats it may vouch for: `intel`, `amd`, `aws`")
    file: str = Field(description="the root certificate, DER or PEM; a relative path is below the data directory")
    simulated: bool = Field(True, description="not a vendor's own root")


class TrustTable(_Table):
    """Whom to trust."""

    roots: list[RootTable] = Field(default_factory=list, description="trust anchors beside the vendors' own")
    vendor_roots: bool = Field(True, description="trust the vendors' roots that ship with Ratchet")


class BoundsTable(_Table):
    """How far a tightening may reach by itself."""

    max_refused: int = Field(0, ge=0, description="machines that an automatic tightening may newly refuse")
    max_fraction: float = Field(0.01, ge=0, le=1, description="the same as a share of the machines it concerns")
    unseen_after: int = Field(7 * 86400, ge=60, description="seconds after which an unseen machine counts no more")


class ApproversTable(_Table):
    """Who may approve."""

    quorum: int = Field(2, ge=1, le=16, description="approvals that a loosening needs; a tightening needs one")
    loosening_lasts: int = Field(7 * 86400, ge=60, description="seconds after which a loosening ends by itself")
    keys: dict[Name, Hex32] = Field(default_factory=dict, description="name -> Ed25519 public key, hex")


class ClockTable(_Table):
    """The one clock of the pipeline."""

    interval: float = Field(
        0.25, gt=0, le=3600, description="seconds between ticks: alerts are at most this much later"
    )


class BundleTable(_Table):
    """Where OPA servers fetch the policy."""

    listen: Listen | None = Field(None, description="host:port of GET /ratchet.tar.gz; none: it is not served")
    token_file: str | None = Field(None, description="a file with the bearer token that OPA must send")
    beyond_loopback: bool = Field(False, description="listen on an address that other machines reach; needs a token")


class OpaTable(_Table):
    """A running OPA that proves what the bundle does; without one, Rego is evaluated in this process."""

    url: str | None = Field(None, description="of its REST interface, such as http://127.0.0.1:8181")
    token_file: str | None = Field(None, description="a file that holds its bearer token")
    dangerous_plain_http: bool = Field(
        False,
        description="speak plain http to an address beyond loopback, such as another container's: whoever can read or "
        "change that traffic learns the token and forges receipts; needs a token",
    )


class WebhookTable(_Table):
    """Where alerts and policy changes are posted."""

    url: str | None = Field(None, description="https, or loopback")
    secret_file: str | None = Field(None, description="a file that holds the signing secret")


class AlertsTable(_Table):
    """Where alerts and policy changes go."""

    ndjson: str | None = Field("alerts.ndjson", description="ECS lines; relative to the data directory; empty: none")
    webhook: WebhookTable = Field(WebhookTable(), description="a signed webhook")


class RulesTable(_Table):
    """Detections."""

    folder: str | None = Field(None, description="a folder of rules that replaces the shipped ones")


class Config(_Table):
    """Everything that can be configured."""

    tenant: Name = Field("default", description="whose machines these are")
    entrance: EntranceTable = Field(EntranceTable(), description="where agents send evidence")
    console: ConsoleTable = Field(ConsoleTable(), description="the pages that people watch")
    retention: RetentionTable = Field(RetentionTable(), description="for how long what grows is kept")
    disk: DiskTable = Field(DiskTable(), description="the disk that the data directory is on")
    http: HttpTable = Field(HttpTable(), description="what each HTTP server bears")
    trust: TrustTable = Field(TrustTable(), description="whom to trust")
    policy: dict[str, Any] = Field(default_factory=dict, description="the appraisal policy; its keys: docs/policy.md")
    bounds: BoundsTable = Field(BoundsTable(), description="how far a tightening may reach by itself")
    approvers: ApproversTable = Field(ApproversTable(), description="who may approve")
    clock: ClockTable = Field(ClockTable(), description="the one clock of the pipeline")
    bundle: BundleTable = Field(BundleTable(), description="where OPA servers fetch the policy")
    opa: OpaTable = Field(OpaTable(), description="a running OPA that proves the bundle")
    alerts: AlertsTable = Field(AlertsTable(), description="where alerts and policy changes go")
    rules: RulesTable = Field(RulesTable(), description="detections")


def schema() -> Json:
    """The JSON schema of the file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def markdown() -> str:
    """docs/configuration.md: every key, from the models above (a test keeps the file equal)."""
    lines = [
        "# Configuration",
        "",
        "`ratchet.toml` in the data directory; `RATCHET_<TABLE>__<KEY>` replaces one key. `ratchet config` shows what",
        "is in force, `ratchet config schema` the JSON schema. Made from ratchet/app/configuration.py by `make docs`.",
        "",
        "| key | default | what it is |",
        "|---|---|---|",
    ]
    lines += [f"| `{key}` | {default} | {what} |" for key, default, what in _keys(Config, "")]
    variables = ", ".join(f"`{name}`" for name in sorted(NOT_KEYS))
    return "\n".join([*lines, "", f"Variables that are no keys: {variables}.", ""])


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    """Every key of a table with its default and description, tables within it too."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        table = next((t for t in inner if issubclass(t, BaseModel)), None)
        if table is None:
            default = (
                "required" if field.is_required() else f"`{json.dumps(field.get_default(call_default_factory=True))}`"
            )
            yield key, default, field.description or ""
            continue
        origin = get_origin(field.annotation)
        many = ".NAME" if origin is dict else "[]" if origin is list else ""
        yield from _keys(table, f"{key}{many}.")


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Read the file (absent: all defaults) and the variables.

    Raises:
        Fault: names the key and the file or variable.
    """
    try:
        said: dict[str, Any] = tomllib.loads(path.read_text())
    except FileNotFoundError:
        said = {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Fault("config-syntax", f"{path} is not TOML: {error}", "fix that line") from error
    except OSError as error:
        raise Fault("config-unreadable", f"{path}: {error.strerror}", "make it readable", Exit.UNREACHABLE) from error
    _override(said, environment)
    try:
        return Config.model_validate(said)
    except ValidationError as error:
        found = [(".".join(str(part) for part in one["loc"]), _wrong(one)) for one in error.errors(include_url=False)]
        lines = [f"{key} in {origin(key, path, environment)}: {wrong}" for key, wrong in found[:5]]
        raise Fault(
            "config-value", lines[0], "see docs/configuration.md, `ratchet config schema`", detail=tuple(lines[1:])
        ) from error


def origin(key: str, path: Path, environment: Mapping[str, str]) -> str:
    """Where a key's value was said: the variable that replaces it, or a part or the whole of it; else the file."""
    for variable, at in _variables(environment):
        if key == at or key.startswith((f"{at}.", f"{at}[")) or at.startswith(f"{key}."):
            return variable
    return str(path)


_SHAPES = {
    NAME: "a name has lower-case letters, digits and hyphens, at most 63",
    HEX32: "this must be 64 lower-case hex digits",
    LISTEN: "this must be host:port, such as 127.0.0.1:8642",
}


def _wrong(error: Any) -> str:
    """What pydantic found of one value, in words."""
    if error["type"] == "string_pattern_mismatch":
        return _SHAPES[error["ctx"]["pattern"]]
    return in_words(error["msg"])


def in_words(message: str) -> str:
    """A message of pydantic's, said so that it follows the key."""
    return message.replace("Extra inputs are not permitted", "there is no such key").replace(
        "Input should", "this should"
    )


def _override(said: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Put RATCHET_… variables into what the file says."""
    for variable, at in _variables(environment):
        path = at.split(".")
        table = said
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise Fault("config-variable", f"{variable}: {part} is no table", "see `ratchet config schema`")
        try:
            table[path[-1]] = json.loads(environment[variable])
        except ValueError:
            table[path[-1]] = environment[variable]


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Every variable that is a key, with the key."""
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in NOT_KEYS:
            yield variable, variable.removeprefix(PREFIX).lower().replace("__", ".")
