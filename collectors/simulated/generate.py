"""Scenarios by chance: small fleets, a day or two, with all sorts of things planted. For tests, and for whoever doubts.

What is planted lies on both sides of the rules' limits: bursts that are too small to be one, silences that end in time,
recoveries that everybody was patched for. In half of the scenarios most of it falls on two or three machines, so that
what happens to one of them meets what happened to it before. A scenario follows from its seed; its time line is in no
order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from collectors.simulated.scenario import Scenario

Events = list[dict[str, Any]]

_REGIONS = ("eu-west", "us-east", "ap-south")
_WORKLOADS = {"vault": ["2.3.0", "2.3.1"], "payments": ["7.14.2"], "inference": ["0.9.8", "0.9.9"]}

_GROUPS: dict[str, dict[str, Any]] = {
    "icelake": {"tee": "sgx", "fmspc": "51606a000000"},
    "coffee": {"tee": "sgx", "fmspc": "51906ed50000", "ca": "processor", "firmware": {"microcode": 15}},
    "sapphire": {"tee": "tdx", "fmspc": "51806f050000"},
    "emerald": {"tee": "tdx", "fmspc": "51c06f000000", "firmware": {"module": 0, "module_svn": 6}},
    "granite": {"tee": "tdx", "fmspc": "51a06d080000", "quote": 5, "firmware": {"module": 3, "microcode": 11}},
    "milan-old": {"tee": "snp", "product": "Milan", "report": 2, "firmware": {"snp": 23, "ucode": 213}},
    "milan": {"tee": "snp", "product": "Milan", "report": 3},
    "genoa": {"tee": "snp", "product": "Genoa", "report": 4, "vcek": "fetched", "firmware": {"bl": 10, "ucode": 84}},
    "turin": {
        "tee": "snp",
        "product": "Turin",
        "report": 5,
        "firmware": {"fmc": 1, "bl": 1, "tee": 1, "snp": 4, "ucode": 81},
    },
}
"""The same each time, so that certificates are issued once and not once a scenario."""

_BAD_EVIDENCE = ("truncated", "random", "oversized", "wrong-format", "future-dated", "another-root")
_BAD_DOCUMENTS = ("truncated", "random", "future-dated", "another-root", "forged")


def generate(seed: int) -> Scenario:
    """The scenario of that seed: 10 to 18 machines, one to two days."""
    return _Dice(seed).scenario()


class _Dice:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = random.Random(f"scenario/{seed}")  # noqa: S311 (a simulation, no secret)
        self._duration = timedelta(hours=self._rng.choice((24, 28, 34, 44)))
        self._favourites: list[str] = []
        self._unused: list[str] = []
        self._recovered: set[str] = set()
        self._groups: dict[str, dict[str, Any]] = {}
        self._members: dict[str, list[str]] = {}

    def scenario(self) -> Scenario:
        rng = self._rng
        self._groups = self._machines()
        self._members = {g: [f"{g}-{n:03d}" for n in range(1, spec["count"] + 1)] for g, spec in self._groups.items()}
        self._unused = [name for names in self._members.values() for name in names]
        rng.shuffle(self._unused)
        if rng.random() < 0.5:
            self._favourites = rng.sample(self._unused, rng.choice((2, 3)))
        events = [event for make in self._planted() for event in make()]
        rng.shuffle(events)
        start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(minutes=rng.randrange(500_000))
        return Scenario.model_validate(
            {
                "name": f"Generated from seed {self._seed}",
                "seed": self._seed,
                "start": start,
                "duration": self._duration,
                "attest": {
                    "every": timedelta(minutes=rng.choice((120, 150, 180))),
                    "jitter": timedelta(minutes=rng.randrange(0, 25)),
                },
                "tick": timedelta(minutes=rng.choice((10, 15, 30))),
                "workloads": _WORKLOADS,
                "machines": self._groups,
                "timeline": events,
            }
        )

    def _machines(self) -> dict[str, dict[str, Any]]:
        """Four to six groups, every TEE among them."""
        rng = self._rng
        by_tee = [[g for g, spec in _GROUPS.items() if spec["tee"] == tee] for tee in ("sgx", "tdx", "snp")]
        chosen = [rng.choice(names) for names in by_tee]
        chosen += rng.sample([g for g in _GROUPS if g not in chosen], rng.randrange(1, 3))
        total = rng.randrange(10, 19)
        shares = [rng.uniform(1, 2) for _ in chosen]
        regions = rng.sample(_REGIONS, rng.choice((1, 2)))
        found = {}
        for name, share in zip(chosen, shares, strict=True):
            found[name] = {
                **_GROUPS[name],
                "count": max(2, int(total * share / sum(shares))),
                "runs": rng.choice(list(_WORKLOADS)),
                "regions": {region: rng.randrange(1, 4) for region in regions},
            }
        return found

    def _planted(self) -> list[Callable[[], Events]]:
        """Which kinds, some of them twice; all of them now and then."""
        kinds = [
            self._rolls_back,
            self._forged,
            self._replayed,
            self._debug,
            self._unknown,
            self._revoked,
            self._recovery,
            self._silent,
            self._burst,
            self._bad_evidence,
            self._bad_document,
            self._unchallenged,
            self._unendorsed,
            self._foreign,
        ]
        return self._rng.choices(kinds, k=self._rng.randrange(0, 4)) + self._rng.sample(
            kinds, self._rng.randrange(4, 12)
        )

    def _at(self, earliest: float = 0.1, latest: float = 0.95) -> timedelta:
        """A moment between two shares of the duration."""
        return timedelta(seconds=int(self._duration.total_seconds() * self._rng.uniform(earliest, latest)))

    def _machine(self, *tees: str) -> str:
        """One of the favourites, most often; else one that nothing happens to yet, if there is one; else any."""
        mine = [n for n in self._favourites if self._groups[n.rpartition("-")[0]]["tee"] in tees]
        if mine and self._rng.random() < 0.8:
            return self._rng.choice(mine)
        fits = [n for n in self._unused if self._groups[n.rpartition("-")[0]]["tee"] in tees]
        if fits and self._rng.random() < 0.9:
            self._unused.remove(fits[0])
            return fits[0]
        return self._rng.choice(
            [n for g, names in self._members.items() if self._groups[g]["tee"] in tees for n in names]
        )

    def _until(self, at: timedelta) -> dict[str, timedelta]:
        later = self._at(0.2, 0.99)
        return {"until": later} if later > at + timedelta(minutes=1) and self._rng.random() < 0.4 else {}

    def _rolls_back(self) -> Events:
        machine, at = self._machine("snp"), self._at(0.2)
        firmware = {
            "fmc": 0,
            "bl": 4,
            "tee": 0,
            "snp": 24,
            "ucode": 219,
            **self._groups[machine.rpartition("-")[0]].get("firmware", {}),
        }
        component = self._rng.choice([c for c, svn in firmware.items() if svn > 0])
        to = self._rng.randrange(0, firmware[component])
        event = {"event": "firmware-rolls-back", "at": at, "machine": machine, "component": component, "to": to}
        return [{**event, **self._until(at)}]

    def _forged(self) -> Events:
        how = self._rng.choice(("bit-flipped", "another-key"))
        machine = self._machine("sgx", "tdx", "snp")
        return [{"event": "forged-evidence", "at": self._at(), "machine": machine, "how": how}]

    def _replayed(self) -> Events:
        machine = self._machine("sgx", "tdx", "snp")
        return [{"event": "replayed-evidence", "at": self._at(0.05), "machine": machine}]

    def _debug(self) -> Events:
        machine = self._machine("sgx", "tdx", "snp")
        return [{"event": "debug-guest", "at": self._at(), "machine": machine}]

    def _unknown(self) -> Events:
        machine, at = self._machine("sgx", "tdx", "snp"), self._at()
        return [
            {"event": "unknown-measurement", "at": at, "machine": machine, "release": "9.9.9-rc1", **self._until(at)}
        ]

    def _revoked(self) -> Events:
        return [{"event": "certificate-revoked", "at": self._at(), "machine": self._machine("sgx", "tdx")}]

    def _recovery(self) -> Events:
        """Of a platform that has had none yet: what the next one asks would depend on the one before."""
        candidates = [
            g for g, spec in self._groups.items() if spec["tee"] != "snp" and spec["fmspc"] not in self._recovered
        ]
        if not candidates:
            return []
        group = self._rng.choice(candidates)
        spec = self._groups[group]
        firmware = {"microcode": 7, "module_svn": 5, **spec.get("firmware", {})}
        self._recovered.add(spec["fmspc"])
        asks: dict[str, int] = {"microcode": firmware["microcode"] + self._rng.choice((1, 2))}
        if spec["tee"] == "tdx" and self._rng.random() < 0.5:
            asks["module_svn"] = firmware["module_svn"] + 1
            if self._rng.random() < 0.5:
                del asks["microcode"]
        hours = self._rng.randrange
        return [
            {
                "event": "tcb-recovery",
                "at": self._at(0.3, 0.8),
                "fmspc": spec["fmspc"],
                **asks,
                "advisory": f"INTEL-SA-{9100 + self._rng.randrange(900):05d}",
                "patched": {"before": timedelta(hours=hours(0, 20)), "after": timedelta(hours=hours(0, 8))},
                "unpatched": self._rng.sample(self._members[group], hours(0, len(self._members[group]))),
            }
        ]

    def _silent(self) -> Events:
        machine, at = self._machine("sgx", "tdx", "snp"), self._at(0.1, 0.6)
        hours = self._rng.choice((None, 6, 9, 11, 13, 16))
        until = at + timedelta(hours=hours) if hours is not None else None
        back = {"until": until} if until is not None and until < self._duration else {}
        return [{"event": "goes-silent", "at": at, "machine": machine, **back}]

    def _burst(self) -> Events:
        region = self._rng.choice(sorted({r for spec in self._groups.values() for r in spec["regions"]}))
        count, within = self._rng.randrange(3, 10), timedelta(minutes=self._rng.randrange(5, 50))
        return [{"event": "failure-burst", "at": self._at(), "region": region, "machines": count, "within": within}]

    def _bad_evidence(self) -> Events:
        how, machine = self._rng.choice(_BAD_EVIDENCE), self._machine("sgx", "tdx", "snp")
        return [{"event": "bad-evidence", "at": self._at(), "machine": machine, "how": how}]

    def _unchallenged(self) -> Events:
        machine = self._machine("sgx", "tdx", "snp")
        return [{"event": "unchallenged-evidence", "at": self._at(), "machine": machine}]

    def _foreign(self) -> Events:
        """Under a machine's name, or under one of its own; after the day in which first use enrols."""
        if self._duration < timedelta(hours=28):
            return []
        machine, number = self._machine("sgx", "tdx", "snp"), self._rng.randrange(1, 100)
        name = {"name": f"rented-{number:03d}"} if self._rng.random() < 0.4 else {}
        at = timedelta(hours=25) + self._rng.random() * (self._duration - timedelta(hours=26))
        at = timedelta(seconds=int(at.total_seconds()))
        return [{"event": "foreign-machine", "at": at, "machine": machine, **name}]

    def _unendorsed(self) -> Events:
        machines = [n for g, names in self._members.items() for n in names if self._groups[g].get("vcek") != "fetched"]
        machines = [n for n in machines if self._groups[n.rpartition("-")[0]]["tee"] == "snp"]
        if not machines:
            return []
        mine = [n for n in self._favourites if n in machines] or machines
        return [{"event": "missing-endorsement", "at": self._at(), "machine": self._rng.choice(mine)}]

    def _bad_document(self) -> Events:
        how = self._rng.choice(_BAD_DOCUMENTS)
        fmspc = self._rng.choice([spec["fmspc"] for spec in self._groups.values() if spec["tee"] != "snp"])
        return [{"event": "bad-document", "at": self._at(), "how": how, "fmspc": fmspc}]
