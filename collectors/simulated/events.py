"""What can happen to every kind of machine. What concerns one vendor's alone is in that vendor's folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from collectors.simulated.model import (
    BaseScenario,
    Fault,
    Happened,
    How,
    MachineName,
    Name,
    Release,
    Span,
    write_span,
)

FIRST_USE = timedelta(days=1)
"""For how long after the first start fresh genuine evidence enrols its machine (docs/policy.md)."""


class ForgedEvidence(Happened):
    """One piece under the machine's name that it never signed."""

    event: Literal["forged-evidence"]
    machine: MachineName
    how: Literal["bit-flipped", "another-key"] = "bit-flipped"

    @property
    def way(self) -> How:
        """As the file says."""
        return self.how


class ReplayedEvidence(Happened):
    """The machine's latest honest piece before `at` is sent once more, as the answer to a new challenge."""

    event: Literal["replayed-evidence"]
    machine: MachineName

    @property
    def way(self) -> How:
        """Replayed."""
        return "replayed"


class DebugGuest(Happened):
    """One piece from a guest whose memory the host may read."""

    event: Literal["debug-guest"]
    machine: MachineName

    @property
    def way(self) -> How:
        """In debug mode."""
        return "debug"


class UnknownMeasurement(Happened):
    """From `at` on the machine runs a release that is not among its workload's, until `until`."""

    event: Literal["unknown-measurement"]
    machine: MachineName
    release: Release
    until: Span | None = None

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """The release is one of the workload's."""
        runs = scenario.group_of(self.machine).runs
        if self.release in scenario.workloads.get(runs, ()):
            yield "release", f"{self.release} is one of the known releases of {runs}"


class GoesSilent(Happened):
    """From `at` on nothing comes from the machine, until `until`."""

    event: Literal["goes-silent"]
    machine: MachineName
    until: Span | None = None


class FailureBurst(Happened):
    """Within `within` from `at` on, this many machines of one region each send one forged piece."""

    event: Literal["failure-burst"]
    region: Name
    machines: Annotated[int, Field(ge=2, le=999)]
    within: Span = timedelta(minutes=10)

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """There is no such region."""
        regions = {region for group in scenario.machines.values() for region in group.regions}
        if self.region not in regions:
            yield "region", f"no region {self.region!r}; there are {', '.join(sorted(regions))}"


class BadEvidence(Happened):
    """One piece under the machine's name that is not what it should be.

    `truncated`, `random`, `oversized` bytes; `wrong-format`: honest bytes under another format's name;
    `future-dated`: a certificate that is not valid yet; `another-root`: all correct, under a root that nobody trusts.
    """

    event: Literal["bad-evidence"]
    machine: MachineName
    how: Literal["truncated", "random", "oversized", "wrong-format", "future-dated", "another-root"]

    @property
    def way(self) -> How:
        """As the file says."""
        return self.how


class UnchallengedEvidence(Happened):
    """One genuine piece that nobody asked for: it holds no challenge, so nobody knows when it was made."""

    event: Literal["unchallenged-evidence"]
    machine: MachineName

    @property
    def way(self) -> How:
        """Without a challenge."""
        return "unchallenged"


class MissingEndorsement(Happened):
    """One genuine piece without the certificate that is else sent beside it, which nobody else has either."""

    event: Literal["missing-endorsement"]
    machine: MachineName

    @property
    def way(self) -> How:
        """Without its endorsement."""
        return "unendorsed"


class ForeignMachine(Happened):
    """One genuine piece of a machine that is none of the fleet's, of the same kind as `machine`.

    Attributes:
        machine: what it is like; and under whose name it sends, unless `name` says another.
        name: a name that no machine of the fleet has.
    """

    event: Literal["foreign-machine"]
    machine: MachineName
    name: Name | None = None

    @property
    def way(self) -> How:
        """Another machine's."""
        return "foreign"

    def faults(self, scenario: BaseScenario) -> Iterator[Fault]:
        """It comes too early, or under the name of a machine of the fleet."""
        if self.at < FIRST_USE:
            yield "at", f"after {write_span(FIRST_USE)}; until then new machines are enrolled by first use"
        if self.name in scenario.names:
            yield "name", f"{self.name} is a machine of the fleet; leave `name` out to send under its name"


EVENTS: tuple[type[Happened], ...] = (
    ForgedEvidence,
    ReplayedEvidence,
    DebugGuest,
    UnknownMeasurement,
    GoesSilent,
    FailureBurst,
    BadEvidence,
    UnchallengedEvidence,
    MissingEndorsement,
    ForeignMachine,
)
