"""From configuration to running parts: roots, policy, rules, stores, notifiers, and the settings of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home

if TYPE_CHECKING:
    from ratchet.collateral import Collateral
    from ratchet.detect.sigma import RuleSet
    from ratchet.policy.appraise import Policy
    from ratchet.ports import Notifier, PolicyStore
    from ratchet.x509.anchor import Root
    from streams.pipeline import Settings


def roots(place: Home) -> tuple[Root, ...]:
    """The trust anchors: the vendors' own that ship, and those that ratchet.toml names.

    Raises:
        Fault: a named file is no certificate.
    """
    from ratchet.collateral.roots import VENDORS, root_from, vendor_roots
    from ratchet.x509.anchor import Vendor

    trust = place.config.trust
    found = list(vendor_roots()) if trust.vendor_roots else []
    for i, table in enumerate(trust.roots):
        file = place.below(table.file)
        key = place.said(f"trust.roots[{i}].file")
        if table.vendor not in VENDORS:
            vendors = ", ".join(sorted(VENDORS))
            said = place.said(f"trust.roots[{i}].vendor")
            raise Fault(
                "bad-root", f"{said}: {table.vendor!r} is no vendor whose evidence is read", f"one of {vendors}"
            )
        try:
            found.append(
                root_from(table.name, Vendor(table.vendor), _der(file.read_bytes()), key, simulated=table.simulated)
            )
        except OSError as error:
            raise Fault("no-root", f"{key}: {file}: {error.strerror}", "name a file that is there") from error
        except ValueError as error:
            raise Fault("bad-root", f"{key}: {file}: {error}", "name a root certificate, DER or PEM") from error
    return tuple(found)


def _der(data: bytes) -> bytes:
    if b"-----BEGIN" not in data:
        return data
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER)


def policy(place: Home) -> Policy:
    """The appraisal policy in force, where the log has one; until the first start the configured one.

    With the floors that were configured first: those that proposals put in force are the stages' to know.

    Raises:
        Fault: names the key.
    """
    from ratchet.policy.appraise import Policy
    from ratchet.rollout.approval import DecisionKeys, configuration_objection, public_key

    configured = configured_policy(place)
    if not place.database_path.is_file():
        return configured
    reader, tenant = place.reader(), place.config.tenant
    record = reader.policy(tenant)
    if record is not None:
        return Policy.from_data({**record["policy"], "floors": record["floors"]})
    # On the log, and not taken up yet: the first one is in force all the same.
    said = [one.event for one in reversed(reader.history("decisions", "policy", 1000)) if one.event.tenant == tenant]
    keys = DecisionKeys(operators=(public_key(place.operator_key()),) if said else ())
    first = next((event for event in said if configuration_objection(keys, event) is None), None)
    return configured if first is None else Policy.from_data(first.data["policy"])


def configured_policy(place: Home) -> Policy:
    """The appraisal policy that the configuration asks for.

    Raises:
        Fault: names the key.
    """
    from ratchet.app.configuration import in_words
    from ratchet.policy.appraise import Policy

    try:
        return Policy.from_data(place.config.policy)
    except (ValueError, TypeError, AttributeError) as error:
        key, _, why = str(error).removeprefix("policy: ").partition(": ")
        wrong = f"{place.said(f'policy.{key}')}: {in_words(why)}" if why else f"{place.said('policy')}: {error}"
        raise Fault("policy", wrong, "docs/policy.md has its keys") from error


def rules(place: Home) -> RuleSet:
    """The detections: those that ship, or the folder that ratchet.toml names.

    Raises:
        Fault: there are none, or some are faulty: each with file and line.
    """
    from ratchet.detect.ruleset import load
    from ratchet.detect.sigma import BadRules

    try:
        return load(rule_texts(place))
    except BadRules as error:
        raise Fault("rules", "some rules cannot run", "fix them", detail=tuple(str(error).splitlines())) from error


def rule_texts(place: Home) -> Mapping[str, str]:
    """The files of the rules in force, with their cases: path -> text.

    Raises:
        Fault: a folder that is not there, or has none: nobody would ever be told of anything.
    """
    from ratchet.app.assets import rules as shipped

    folder = place.config.rules.folder
    if not folder:
        return shipped()
    below, said = place.below(folder), place.said("rules.folder")
    try:
        found = {str(p.relative_to(below)): p.read_text() for p in sorted(below.rglob("*.yml"))}
    except (OSError, UnicodeDecodeError) as error:
        raise Fault("rules", f"{said}: {error}", "make every rule readable", Exit.UNREACHABLE) from error
    if not found:
        raise Fault("rules", f"{said}: there is no rule in {below}", "name a folder with rules; docs/rules.md")
    return found


def stores(place: Home) -> Sequence[PolicyStore]:
    """Git, then the bundle built from its commits; a running OPA proves it where ratchet.toml names one.

    Raises:
        Fault: one cannot be opened.
    """
    from ratchet.ports import Unreachable
    from streams.stores import local

    opa = place.config.opa
    token = secret(place, opa.token_file, "opa.token_file")
    if opa.dangerous_plain_http and not token:
        raise Fault("no-secret", "opa.dangerous_plain_http without opa.token_file", "name a file that holds a token")
    try:
        return local(
            place.path,
            opa_url=opa.url,
            opa_token=token,
            opa_plain_http=opa.dangerous_plain_http,
            tenant=place.config.tenant,
            head=_head(place),
        )
    except ValueError as error:
        raise Fault(
            "opa",
            f"{place.said('opa.url')}: {error}",
            "use https or an address of this machine; docs/configuration.md has opa.dangerous_plain_http",
        ) from error
    except Unreachable as error:
        raise Fault("store", str(error), "fix that, then start again", Exit.UNREACHABLE) from error


def held(place: Home) -> Iterator[tuple[PolicyStore, str | None]]:
    """The stores, each with the revision that we wrote last; nothing where nothing was written yet."""
    if not place.database_path.is_file():
        return
    with closing(place.database()) as database:
        pushed = database.state("push")
    for store in stores(place):
        yield store, (pushed.get(f"store/{store.name}") or {"revision": None})["revision"]


def _head(place: Home) -> Callable[[], str | None]:
    """What says the newest link of the data directory's hash chain."""

    def newest() -> str | None:
        from streams.chain import head_of

        return head_of(place.database_path)

    return newest


def notifiers(place: Home) -> Sequence[Notifier]:
    """Where alerts and policy changes go."""
    from streams.siem.ndjson import NdjsonFile
    from streams.siem.webhook import Webhook

    alerts, loaded = place.config.alerts, tuple(rules(place))
    found: list[Notifier] = []
    if alerts.ndjson:
        found.append(NdjsonFile(place.below(alerts.ndjson), rules=loaded, head=_head(place)))
    if alerts.webhook.url:
        signing = secret(place, alerts.webhook.secret_file, "alerts.webhook.secret_file")
        if signing is None:
            raise Fault(
                "no-secret",
                f"{place.said('alerts.webhook.secret_file')} is not there, though there is a url",
                "name a file that holds the secret; docs/siem.md makes one",
            )
        try:
            found.append(Webhook(alerts.webhook.url, signing, rules=loaded, head=_head(place)))
        except ValueError as error:
            raise Fault(
                "webhook", f"{place.said('alerts.webhook.url')}: {error}", "docs/siem.md says what it may be"
            ) from error
    return found


def secret(place: Home, name: str | None, key: str) -> str | None:
    """What a file that the configuration names holds, without the line's end.

    Args:
        key: that names it, for the error.

    Raises:
        Fault: it cannot be read.
    """
    if name is None:
        return None
    try:
        return place.below(name).read_text().strip()
    except OSError as error:
        raise Fault("no-secret", f"{place.said(key)}: {name}: {error.strerror}", "name a file that is there") from error


def settings(place: Home) -> Settings:
    """Everything that the pipeline is told."""
    from ratchet.policy.simulate import Bounds
    from ratchet.rollout.approval import Approvers, public_key
    from streams.pipeline import Settings

    config = place.config
    try:
        approvers = Approvers(
            keys=config.approvers.keys,
            quorum=config.approvers.quorum,
            loosening_lasts=config.approvers.loosening_lasts,
        )
    except ValueError as error:
        raise Fault(
            "approvers", f"{place.said('approvers')}: {error}", "`ratchet approve --new-key` makes a key"
        ) from error
    return Settings(
        roots=roots(place),
        policy=policy(place),
        bounds=Bounds(**config.bounds.model_dump()),
        approvers=approvers,
        operators=(public_key(place.operator_key()),),
        rules=rules(place),
        stores=tuple(stores(place)),
        notifiers=tuple(notifiers(place)),
    )


def known_collateral(place: Home, trusted: tuple[Root, ...]) -> Collateral:
    """What this data directory knows of vendors' documents; nothing where there is none yet."""
    from ratchet.collateral import Collateral, UnknownDocument, parse
    from ratchet.event import BlobId

    collateral = Collateral(trusted)
    if not place.database_path.is_file():
        return collateral
    from streams.sqlite import SqliteBlobs, SqliteLog

    with closing(place.database()) as database:
        log, blobs, after = SqliteLog(database), SqliteBlobs(database), 0
        while records := log.read(["documents"], after, 500):
            for record in records:
                after = record.offset
                said = record.event.data
                blob = said.get("blob") if isinstance(said, dict) else None
                data = blobs.get(BlobId(blob)) if isinstance(blob, str) else None
                try:
                    for known in parse(data or b"", record.event.time, trusted):
                        collateral.add(known)
                except UnknownDocument:
                    continue  # a dead letter: `ratchet dead-letters` shows it
    return collateral
