"""A pipeline that can be made to die at any call of a port, and scenarios to put it through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from collectors.simulated import drive
from collectors.simulated.deliveries import deliveries
from collectors.simulated.delivery import Delivery
from collectors.simulated.fleet import reference_values
from collectors.simulated.scenario import Scenario, parse
from collectors.simulated.vendor import Vendor
from ratchet.app.assets import rules
from ratchet.detect.ruleset import load
from ratchet.detect.sigma import RuleSet
from ratchet.event import Event
from ratchet.policy.appraise import Policy
from ratchet.policy.simulate import Bounds
from ratchet.ports import Notifier
from ratchet.rollout.approval import Approvers
from streams import stores
from streams.clock import tick
from streams.embedded import Embedded, Sinks
from streams.pipeline import Settings, sinks, stages
from streams.sqlite import Database
from streams.state_digest import state_digest

TENANT = "acme"

AFTERNOON = """
    name: Ten machines, one short afternoon
    seed: 4
    start: 2026-03-02T12:00:00Z
    duration: 3h
    attest: {every: 1h, jitter: 10m}
    tick: 1h
    workloads: {vault: ["1.0"], payments: ["2.0"]}
    machines:
      icelake: {count: 6, tee: sgx, fmspc: "51606a000000", runs: vault, regions: {eu-west: 1}}
      milan: {count: 4, tee: snp, product: Milan, runs: payments, regions: {eu-west: 1}}
    timeline:
      - {at: 20m, event: forged-evidence, machine: milan-002, how: bit-flipped}
      - {at: 50m, event: bad-document, fmspc: "51606a000000", how: random}
      - {at: 80m, event: firmware-rolls-back, machine: milan-001, component: snp, to: 22}
      - {at: 90m, event: bulletin-reviewed, product: Milan, bulletin: AMD-SB-9019, minimum: {snp: 24}}
      - at: 100m
        event: tcb-recovery
        fmspc: "51606a000000"
        microcode: 8
        advisory: INTEL-SA-09101
        patched: {before: 90m, ready: 80m}
        unpatched: [icelake-003]
"""
"""Everything that leaves the process happens in it: alerts, proposals, two changes of policy, a dead letter."""

DAY = """
    name: Ten machines, one day
    seed: 5
    start: 2026-03-02T00:00:00Z
    duration: 24h
    attest: {every: 1h, jitter: 20m}
    tick: 10m
    workloads: {vault: ["1.0"], payments: ["2.0"]}
    machines:
      icelake: {count: 4, tee: sgx, fmspc: "51606a000000", runs: vault, regions: {eu-west: 1}}
      sapphire: {count: 3, tee: tdx, fmspc: "51806f050000", runs: payments, regions: {eu-west: 1}}
      milan: {count: 3, tee: snp, product: Milan, runs: payments, regions: {eu-west: 1}}
    timeline:
      - {at: 3h, event: forged-evidence, machine: milan-002, how: bit-flipped}
      - {at: 5h, event: bad-document, fmspc: "51606a000000", how: random}
      - {at: 6h, event: firmware-rolls-back, machine: milan-001, component: snp, to: 22}
      - {at: 7h, event: goes-silent, machine: sapphire-002}
      - {at: 9h, event: replayed-evidence, machine: sapphire-001}
      - {at: 12h, event: bulletin-reviewed, product: Milan, bulletin: AMD-SB-9019, minimum: {snp: 24}}
      - at: 15h
        event: tcb-recovery
        fmspc: "51606a000000"
        microcode: 8
        advisory: INTEL-SA-09101
        patched: {before: 8h, ready: 3h}
        unpatched: [icelake-003]
"""


class Crash(BaseException):
    """The process dies. No handler may stop it: it is no Exception."""


class Faults:
    """Stands in front of ports. Told of every call before it is made and after it was; dies where a subclass says."""

    def before(self, call: str) -> None:
        """A port is about to be called."""

    def after(self, call: str) -> None:
        """It was called, and has not answered yet."""


class Port:
    """A port with faults in front of the named methods; everything else is the port's own."""

    def __init__(self, port: Any, faults: Faults, *methods: str) -> None:
        self._port, self._faults, self._methods = port, faults, methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if name not in self._methods:
            return found
        call = f"{type(self._port).__name__}.{name}"

        def faulty(*given: Any, **named: Any) -> Any:
            self._faults.before(call)
            answer = found(*given, **named)
            self._faults.after(call)
            return answer

        return faulty


@cache
def shipped_rules() -> RuleSet:
    """The rules that ship, read once."""
    return load(rules())


@dataclass
class World:
    """A scenario, cut into the rounds that its ticks close, and processes that put it through a data directory."""

    scenario: Scenario
    vendor: Vendor

    @classmethod
    def of(cls, text: str, vendor: Path) -> World:
        """From a scenario and the folder of the simulated vendor."""
        return cls(parse(text), Vendor(vendor))

    @cached_property
    def rounds(self) -> list[tuple[datetime, list[Delivery]]]:
        """Every tick with what arrives before it; made once, for minting takes longer than all else."""
        return list(drive.rounds(self.scenario, deliveries(self.scenario, self.vendor)))

    @contextmanager
    def process(self, folder: Path, notifier: Notifier, faults: Faults) -> Iterator[Callable[[int], None]]:
        """A process that works on a data directory; yields what runs one round. Nothing of it outlives the block."""
        database = Database(folder / "ratchet.db")
        try:
            log = Port(database.log, faults, "append", "read")
            blobs = Port(database.blobs, faults, "put", "get")
            settings = Settings(
                roots=self.vendor.roots(),
                policy=Policy.from_data(
                    {
                        "may_be_impossible": ["floor"],
                        "reference_values": reference_values(self.scenario),
                    }
                ),
                rules=shipped_rules(),
                bounds=Bounds(max_refused=2, max_fraction=0.3),
                approvers=Approvers(),
                stores=[
                    Port(store, faults, "plan", "push", "prove", "check")
                    for store in stores.local(folder, tenant=TENANT)
                ],
                notifiers=[Port(notifier, faults, "send")],
            )
            executor = Embedded(Port(database, faults, "commit_round"), stages(settings, blobs))
            telling = Sinks(Port(database, faults, "change_state"), sinks(settings), log)

            def run(number: int) -> None:
                at, batch = self.rounds[number]
                log.append([drive.rollout_event(one, TENANT, blobs) for one in batch])
                log.append([("ticks", tick(at))])
                executor.drain()
                telling.drain()

            yield run
        finally:
            database.close()

    def digest(self, folder: Path) -> dict[str, str]:
        """The state digest of a data directory."""
        database = Database(folder / "ratchet.db")
        try:
            return state_digest(database, stores.local(folder, tenant=TENANT))
        finally:
            database.close()

    def told(self, folder: Path) -> list[Event]:
        """What notifiers must have heard of."""
        database = Database(folder / "ratchet.db")
        try:
            return [r.event for r in database.log.read(["alerts", "changes", "receipts"], 0, 10_000)]
        finally:
            database.close()
