"""The simulated vendors: one entry each, from the folder that knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from collectors.simulated import amd, aws, azure, intel
from collectors.simulated.events import EVENTS as EVERYBODYS
from collectors.simulated.model import Group, Happened
from collectors.simulated.spec import Kind, SimulatedVendor
from ratchet.evidence import FORMATS


class BadVendors(Exception):
    """An entry lacks something or contradicts another: a fault of ours, found when a scenario is first read."""


def tee_of(group: type[Group]) -> str:
    """How a scenario file calls this kind of machine."""
    return _literal(group, "tee")


def name_of(event: type[Happened]) -> str:
    """How a scenario file calls this kind of event."""
    return _literal(event, "event")


def _literal(model: type[Group] | type[Happened], key: str) -> str:
    return str(*getattr(model.model_fields[key].annotation, "__args__", ()))


def problems(vendors: Iterable[SimulatedVendor]) -> Iterator[str]:
    """What is wrong with these entries; nothing where they can be used."""
    vendors = tuple(vendors)
    kinds = [kind.group for vendor in vendors for kind in vendor.kinds]
    events = [*EVERYBODYS, *(event for vendor in vendors for event in vendor.events)]
    for what, names in (
        ("vendor", [vendor.name for vendor in vendors]),
        ("tee", [tee_of(group) for group in kinds]),
        ("event", [name_of(event) for event in events]),
        ("sample", [name for group in kinds for name in group.SAMPLES]),
    ):
        yield from (f"{what} {name} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for vendor in vendors:
        own = {name_of(event) for event in vendor.events}
        yield from (f"{vendor.name}: plants {name}, no event of its own" for name in sorted(set(vendor.plants) - own))
        for group in (kind.group for kind in vendor.kinds):
            spec = FORMATS.get(group.FORMAT)
            if spec is None:
                yield f"{vendor.name}: {group.FORMAT} is no format that Ratchet reads"
            elif spec.simulated != vendor.name:
                yield f"{vendor.name}: {group.FORMAT} says that {spec.simulated} makes it"
            if group.MISLABELLED == group.FORMAT:
                yield f"{vendor.name}: {group.FORMAT} under its own name is not of the wrong format"
            for name, keys in group.SAMPLES.items():
                if keys.get("tee") != tee_of(group):
                    yield f"{vendor.name}: sample {name} is not a {tee_of(group)} group"


def load(vendors: Iterable[SimulatedVendor]) -> Mapping[str, SimulatedVendor]:
    """The entries by name.

    Raises:
        BadVendors: says everything that is wrong with them.
    """
    vendors = tuple(vendors)
    wrong = list(problems(vendors))
    if wrong:
        raise BadVendors("; ".join(wrong))
    return MappingProxyType({vendor.name: vendor for vendor in vendors})


VENDORS = load((intel.VENDOR, amd.VENDOR, aws.VENDOR, azure.VENDOR))
"""Every simulated vendor by its name."""

KINDS: Mapping[str, Kind] = MappingProxyType(
    {tee_of(kind.group): kind for vendor in VENDORS.values() for kind in vendor.kinds}
)
"""Every kind of machine by its `tee` in a scenario file."""

EVENTS: tuple[type[Happened], ...] = (*EVERYBODYS, *(event for vendor in VENDORS.values() for event in vendor.events))
"""Everything that can happen."""
