"""The embedded pipeline: pieces of evidence a second from a backlog, and how long evidence takes to become an alert.

Rate: a day of the shipped week's fleet is on the log, a tick every five simulated minutes, and the pipeline runs all of
it, stores and notifiers included. Latency: a live pipeline with its real clock; forged evidence is appended at any
moment between two ticks, and the alert is timed from before the append to after its commit.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles

from collectors.simulated.deliveries import deliveries
from collectors.simulated.delivery import DeliveryKind
from collectors.simulated.drive import drive
from collectors.simulated.scenario import Scenario, week
from collectors.simulated.vendor import Vendor
from ratchet.app.home import Home
from ratchet.app.running import engine
from ratchet.cli.demo import prepare
from streams.clock import Live, tick
from streams.embedded import run


def measure(probes: int, say: Callable[[str], None]) -> dict[str, float]:
    """`rate` (pieces of evidence a second), `p50_ms` and `p99_ms` (from evidence to alert)."""
    with tempfile.TemporaryDirectory() as folder:
        rate = _rate(Path(folder) / "rate")
        say(f"pipeline: {rate:.0f} pieces of evidence a second from a backlog")
        waits = _latency(Path(folder) / "latency", probes)
    cuts = quantiles(waits, n=100)
    p50, p99 = cuts[49] * 1000, cuts[98] * 1000
    say(f"evidence to alert: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {len(waits)} alerts, a tick every 250 ms")
    return {"rate": rate, "p50_ms": p50, "p99_ms": p99}


def _rate(folder: Path) -> float:
    scenario = week().model_copy(update={"duration": timedelta(days=1), "timeline": ()})
    place = Home(folder, {})
    prepare(place, scenario)
    with engine(place) as running:
        database = running.database

        def close(at: datetime) -> None:
            database.log.append([("ticks", tick(at))])

        fed = drive(
            scenario,
            Vendor(folder / "vendor"),
            database.log,
            database.blobs,
            close,
            tenant=place.config.tenant,
            together=database.transaction,
        )
        began = time.perf_counter()
        running.executor.drain()
        running.sinks.drain()
        return fed.evidence / (time.perf_counter() - began)


def _latency(folder: Path, probes: int) -> list[float]:
    scenario = week()
    place = Home(folder, {})
    prepare(place, scenario)
    with engine(place) as running:
        stop = threading.Event()
        waits: list[float] = []
        prober = threading.Thread(target=_probe, args=(scenario, folder, probes, stop, waits))
        prober.start()
        run(running.executor, running.sinks, Live(running.database.log, running.database), stop)
        prober.join()
        return waits


def _probe(scenario: Scenario, folder: Path, probes: int, stop: threading.Event, waits: list[float]) -> None:
    """Send forged evidence, each from a machine of its own, and wait for its alert."""
    from collectors.delivery import Delivery, accept
    from streams.sqlite import Database

    genuine = next(d for d in deliveries(scenario, Vendor(folder / "vendor")) if d.kind is DeliveryKind.EVIDENCE)
    database = Database(folder / "ratchet.db")
    try:
        offset = 0
        for n in range(probes):
            time.sleep(n * 0.0377 % 0.25)  # anywhere between two ticks
            raw = bytearray(genuine.raw)
            raw[100 + n % 300] ^= 1 + n // 300
            one = Delivery(id=f"probe-{n}", name=f"probe-{n}", raw=bytes(raw), format=genuine.format)
            began = time.perf_counter()
            accept(one, database.log, database.blobs, "/bench", "default", datetime.now(UTC))
            while not (alerts := database.log.read(["alerts"], offset, 1000)):
                time.sleep(0.001)
            waits.append(time.perf_counter() - began)
            offset = alerts[-1].offset
    finally:
        stop.set()
        database.close()
