"""Run the pipeline of a data directory: to the end of what it has, or live beside its servers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ratchet.app.composition import configured_policy, settings
from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home

if TYPE_CHECKING:
    import socket

    import uvicorn

    from streams.embedded import DataDirectoryLock, Embedded, Sinks
    from streams.sqlite import Database


@dataclass(frozen=True)
class Engine:
    """An open pipeline: this process alone runs its rounds."""

    database: Database
    executor: Embedded
    sinks: Sinks


@contextmanager
def engine(place: Home) -> Iterator[Engine]:
    """DataDirectoryLock the data directory and build its pipeline.

    Raises:
        Fault: another process runs it already.
    """
    from streams.embedded import Embedded, Sinks
    from streams.pipeline import sinks, stages

    place.create()  # for its owner alone, before a store puts its keys into it
    with closing(place.database()) as database, claimed(place):
        configure(place, database)
        wanted = settings(place)
        yield Engine(database, Embedded(database, stages(wanted, database.blobs)), Sinks(database, sinks(wanted)))


def configure(place: Home, database: Database) -> None:
    """Put the configured policy on the log, signed, where it is another than was put there last.

    The first is in force at once; any other becomes a proposal (streams/decide.py).
    """
    from ratchet.app.decisions import SOURCE, whoami
    from ratchet.rollout.approval import decision

    wanted, tenant = configured_policy(place), place.config.tenant
    history = place.reader().history("decisions", POLICY_SUBJECT, 1)
    last = next((one.event for one in history if one.event.tenant == tenant), None)
    if last is not None and last.data.get("policy") == wanted.to_data():
        return
    data = {"policy": wanted.to_data(), "by": whoami()}
    event = decision(place.operator_key(), "configured", POLICY_SUBJECT, data, tenant=tenant, at=now(), source=SOURCE)
    database.log.append([("decisions", event)])


POLICY_SUBJECT = "policy"
"""Of what is decided about the policy of a tenant."""


@contextmanager
def claimed(place: Home) -> Iterator[DataDirectoryLock]:
    """Be the only process that runs rounds of this data directory, or empties it.

    Raises:
        Fault: another process is.
    """
    from streams.embedded import AlreadyRunning, DataDirectoryLock

    try:
        claim = DataDirectoryLock(place.database_path)
    except AlreadyRunning as error:
        who = f"process {error.pid}" if error.pid else "another process"
        raise Fault(
            "already-running", f"{who} runs on {place.path}", "stop it first, or name another --data", Exit.REFUSED
        ) from error
    try:
        yield claim
    finally:
        claim.release()


def drain(place: Home) -> None:
    """Close a round now, run all that waits, tell whom it concerns, and end."""
    from streams.clock import Live

    with engine(place) as running:
        for _ in range(4):  # what a round feeds back is taken in the one after
            Live(running.database.log, running.database, idle=timedelta(0)).beat()
            running.executor.drain()
        running.sinks.drain()


def run_live(place: Home, running: Engine, servers: list[tuple[uvicorn.Server, list[socket.socket]]]) -> None:
    """Rounds by the machine's clock, with the servers beside them, until SIGINT or SIGTERM."""
    from streams.clock import Live
    from streams.embedded import run

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threads = [
        threading.Thread(target=server.run, kwargs={"sockets": sockets}, name=f"ratchet-http-{i}", daemon=True)
        for i, (server, sockets) in enumerate(servers)
    ]
    for thread in threads:
        thread.start()
    clock = Live(running.database.log, running.database, interval=timedelta(seconds=place.config.clock.interval))
    try:
        run(running.executor, running.sinks, clock, stop)
    finally:
        for server, _ in servers:
            server.should_exit = True
        for thread in threads:
            thread.join(timeout=5)


def now() -> datetime:
    """The wall's clock."""
    return datetime.now(UTC)
