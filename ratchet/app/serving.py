"""The HTTP servers of one Ratchet: the evidence entrance, the bundle, the console. Loopback unless told otherwise."""

from __future__ import annotations

import errno
import ipaddress
import socket
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from ratchet.app.decisions import whoami
from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home
from ratchet.app.running import now
from ratchet.event import Event

if TYPE_CHECKING:
    import uvicorn

    from ratchet.app.http_server import Limits

    Served = tuple[uvicorn.Server, list[socket.socket]]


def entrance(place: Home) -> Served:
    """`POST /v1/evidence`, ready to run.

    Raises:
        Fault: the address is taken, or others could reach it and nobody said so.
    """
    from collectors.http import EvidenceAPI, Sender
    from ratchet.app.http_server import server
    from ratchet.app.relying import RelyingParties
    from streams.retention import brought
    from streams.sqlite import Database

    table = place.config.entrance
    listening = listen(table.listen, place.said("entrance.listen"), table.beyond_loopback)
    senders = tuple(
        Sender(
            name,
            one.token_sha256,
            one.rate,
            one.burst,
            one.gives_challenges,
            one.vouches_freshness,
            bytes_per_day=one.bytes_per_day,
        )
        for name, one in sorted(table.senders.items())
    )
    database = Database(place.database_path)
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    with database.reading() as connection:
        taken = {one.name: brought(connection, f"/collectors/http/{one.name}", midnight) for one in senders}
    app = EvidenceAPI(
        senders,
        database.log,
        database.blobs,
        place.config.tenant,
        now,
        time.monotonic,
        place.room,
        taken,
        RelyingParties(place),
    ).app()
    return server(app, limits(place)), [listening]


def bundle(place: Home) -> Served | None:
    """`GET /ratchet.tar.gz`, ready to run, where ratchet.toml says that it listens; OPA's configuration lies ready.

    Raises:
        Fault: the address is taken; others could reach it and nobody said so, or no token keeps them out.
    """
    from ratchet.app.composition import secret
    from ratchet.app.http_server import server
    from streams.stores.keys import BundleKey
    from streams.stores.opa import configure
    from streams.stores.publish import app

    table = place.config.bundle
    if table.listen is None:
        return None
    token = secret(place, table.token_file, "bundle.token_file")
    if table.beyond_loopback and not token:
        raise Fault("no-secret", "bundle.beyond_loopback without bundle.token_file", "name a file that holds a token")
    configure(place.path / "bundles", BundleKey.kept_in(place.path / "keys"))
    listening = listen(table.listen, place.said("bundle.listen"), table.beyond_loopback)
    return server(app(place.path / "bundles" / "ratchet.tar.gz", token), limits(place)), [listening]


def console(place: Home, listening: socket.socket | None = None) -> tuple[Served, str, str]:
    """The console, ready to run; with its address and the token that opens it once.

    Args:
        listening: where; by default what ratchet.toml says.

    Raises:
        Fault: the address is taken, or others could reach it and nobody said so.
    """
    from dashboards.console.app import create
    from dashboards.console.guard import LoginToken
    from dashboards.console.serve import hosts
    from ratchet.app.http_server import server

    table = place.config.console
    listening = listening or listen(table.listen, place.said("console.listen"), table.beyond_loopback)
    bound = listening.getsockname()[1]
    token = LoginToken(whoami())
    secret = token.issue(now())
    app = create(
        place.reader(),
        submit(place),
        tenant=place.config.tenant,
        token=token,
        hosts=(*hosts(listening), *table.hosts),
        now=now,
        key=place.operator_key(),
    )
    return (server(app, limits(place)), [listening]), f"http://127.0.0.1:{bound}/", secret


def limits(place: Home) -> Limits:
    """What each server bears, by ratchet.toml."""
    from ratchet.app.http_server import Limits

    table = place.config.http
    return Limits(
        connections=table.connections,
        per_address=table.connections_per_address,
        head_seconds=table.head_seconds,
        body_seconds=table.body_seconds,
    )


def submit(place: Home) -> Callable[[str, Event], None]:
    """What puts a decision made in the console on the log."""

    def put(topic: str, event: Event) -> None:
        with closing(place.database()) as database:
            database.log.append([(topic, event)])

    return put


def listen(address: str, said: str, beyond: bool = False) -> socket.socket:
    """Listen on an address, before anything else is done.

    Args:
        said: the key or option that named it.
        beyond: it may be one that other machines reach.

    Raises:
        Fault: it is taken, or is none; others could reach it and nobody said so.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not beyond and not _loopback(host):
        raise Fault(
            "beyond-loopback",
            f"{said}: {address} is reached by other machines",
            f"listen on 127.0.0.1, or set {said.partition('.')[0]}.beyond_loopback = true and put TLS before it",
            Exit.REFUSED,
        )
    try:
        return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        why = "it is in use" if isinstance(error, OSError) and error.errno == errno.EADDRINUSE else str(error)
        raise Fault(
            "address-taken", f"{said}: cannot listen on {address}: {why}", "name another there", Exit.UNREACHABLE
        ) from error


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
