"""Where policy ends: one module per policy store, each a `ratchet.ports.PolicyStore`.

`layout` says how an intent becomes files, `git` commits them, `bundle` packs and signs them for OPA, `opa` publishes
the bundle, `rego` and `opa_server` decide whether it enforces, `publish` gives it to OPA servers. See docs/stores.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratchet.event import Json
    from ratchet.ports import PolicyStore
    from streams.stores.git import GitStore


def repository(folder: Path, *, head: Callable[[], str | None] = lambda: None) -> GitStore:
    """The Git store of a data directory, `policy.git/`; whoever only reads it needs no key."""
    from streams.stores.git import GitStore
    from streams.stores.rego import RegoInProcess

    return GitStore(folder / "policy.git", RegoInProcess(), head=head)


def local(
    folder: Path,
    *,
    opa_url: str | None = None,
    opa_token: str | None = None,
    opa_plain_http: bool = False,
    tenant: str = "default",
    head: Callable[[], str | None] = lambda: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[PolicyStore, ...]:
    """The stores of a data directory, in the order in which they are written: Git, then the bundle of its commits.

    Args:
        folder: the data directory: `policy.git/`, `bundles/ratchet.tar.gz`, `keys/`.
        opa_url: of an OPA server that loads the bundle and is asked for proof; None proves in process.
        opa_token: bearer token for it.
        opa_plain_http: speak plain http to it beyond loopback (a network of containers).
        tenant: whose policy the bundle serves.
        now: when keys are published and rotated.
        head: the newest link of the hash chain, for the commits' trailers; see streams/chain.py.

    Raises:
        Unreachable: the bundle's key cannot be read or made.
        ValueError: the URL may not be spoken to.
    """
    # wasmtime, dulwich and httpx are not loaded by those who only want another module of this package.
    from streams.stores.ear_keys import EarKeys
    from streams.stores.keys import BundleKey
    from streams.stores.opa import OpaStore
    from streams.stores.rego import Prover, RegoInProcess

    ear = EarKeys(folder / "keys" / "ear")
    prover: Prover = RegoInProcess()
    git = repository(folder, head=head)
    if opa_url is not None:
        from streams.stores.opa_server import OpaServer

        prover = OpaServer(opa_url, token=opa_token, dangerous_plain_http=opa_plain_http, minter=ear)
    key = BundleKey.kept_in(folder / "keys")

    def jwks() -> Mapping[str, Json]:
        ear.keep_young(now())
        return ear.jwks(now())

    return git, OpaStore(git, folder / "bundles" / "ratchet.tar.gz", key, prover, tenant=tenant, keys=jwks)
