"""Is one floor at least as strict as another, and what lies on its edge? Exact, by finite cases; never by a guess.

What a floor says of a machine depends only on which of the numbers in it the machine reaches. So two floors need to be
compared at finitely many points, and everything that either could tell apart is at one of them:

- Intel: every component-wise maximum of some of the levels of both lists. A machine reaches exactly the levels that the
  greatest such point below it reaches. Levels are nearly a chain, so these points are few; beyond `MAX_POINTS` the
  answer is no, for want of proof.
- Intel, TDX with a module version: the same without components 0 and 1, times the ISVSVNs that the module lists name.
- AMD: every model and stepping that either floor names, one that neither names, and none attested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from ratchet.collateral.tcb import TcbLevel
from ratchet.policy.floor import AmdFloor, Floor, IntelFloor, Minimum, applicable, is_open, shortfalls

MAX_POINTS = 4096
"""Points compared at most; real pairs of Intel's lists have below 100."""

_Point = tuple[int, ...]


def tightens(new: Floor, old: Floor | None) -> bool:
    """Does `old` admit every machine that `new` admits? Then changing from old to new refuses more, or the same.

    A component that goes down from one list to the next makes this false where it lets anybody in.
    """
    if old is None or is_open(old):
        return True
    if new.family != old.family:
        return False
    if isinstance(new, IntelFloor) and isinstance(old, IntelFloor):
        return new.tee == old.tee and _intel(new, old)
    if isinstance(new, AmdFloor) and isinstance(old, AmdFloor):
        return _amd(new, old)
    return False


def succeeds(new: Floor, old: Floor | None) -> bool:
    """Is `new` what the vendor put in the place of `old`, with nothing lowered by people?

    Intel: a TCB info of a higher evaluation number, or issued later in the same, that accepts no more statuses. AMD:
    reviews of the same bulletins, at least one as the vendor revised it, and none of the others altered.
    """
    if old is None or new.family != old.family or not new.provenance.follows(old.provenance):
        return False
    if isinstance(new, IntelFloor) and isinstance(old, IntelFloor):
        return set(new.accepted) <= set(old.accepted) and all(
            status in old.accepted or (status in old.conditional and set(advisories) <= set(old.conditional[status]))
            for status, advisories in new.conditional.items()
        )
    return isinstance(new, AmdFloor) and isinstance(old, AmdFloor)


def same_effect(one: Floor | None, other: Floor | None) -> bool:
    """Do they admit the same machines?"""
    if is_open(one) or is_open(other) or one is None or other is None:
        return is_open(one) and is_open(other)
    return tightens(one, other) and tightens(other, one)


def _intel(new: IntelFloor, old: IntelFloor) -> bool:
    if not _contained(new, old, module=0):
        return False
    if not new.modular:
        return True
    platforms = _contained(new, old, module=1)
    for name in sorted(new.modules):
        admitted = [n for n in _isvsvns(name, new, old) if _module_admits(new, name, n)]
        if not admitted or not _reaches_any(new):
            continue  # `new` admits no machine with this module
        if not platforms or not all(_module_admits(old, name, n) for n in admitted):
            return False
    return True


def _contained(new: IntelFloor, old: IntelFloor, module: int) -> bool:
    """Is every platform (the module apart) that `new` admits admitted by `old`?"""
    points = _joins((*new.levels, *old.levels), module)
    if points is None:
        return False
    return all(_platform_admits(old, p) for p in map(_tcb, points) if _platform_admits(new, p))


def _reaches_any(floor: IntelFloor) -> bool:
    points = _joins(floor.levels, 1)
    return points is None or any(_platform_admits(floor, p) for p in map(_tcb, points))


def _isvsvns(name: str, *floors: IntelFloor) -> list[int]:
    return sorted({level.isvsvn for floor in floors for level in floor.modules.get(name, ())})


def _module_admits(floor: IntelFloor, name: str, isvsvn: int) -> bool:
    level = next((m for m in floor.modules.get(name, ()) if m.isvsvn <= isvsvn), None)
    return level is not None and floor.admits(level.status, level.advisories)


def _platform_admits(floor: IntelFloor, tcb: Mapping[str, int]) -> bool:
    level = floor.match(tcb)
    return level is not None and floor.admits(level.status, level.advisories)


def _vector(level: TcbLevel, module: int) -> _Point | None:
    """What a level asks: sgx 0..15, pcesvn, tdx 0..15; None where no machine of this module version can reach it."""
    tdx = list(level.tdx or (0,) * 16)
    if module:
        tdx[0], tdx[1] = 0, module
    elif tdx[1] > 0:
        return None
    return (*level.sgx, level.pcesvn, *tdx)


def _tcb(point: _Point) -> dict[str, int]:
    tcb = {f"sgx.{n}": point[n] for n in range(16)}
    tcb["pcesvn"] = point[16]
    tcb |= {f"tdx.{n}": point[17 + n] for n in range(16)}
    return tcb


def _joins(levels: Sequence[TcbLevel], module: int) -> set[_Point] | None:
    """Every component-wise maximum of some of the levels; None where they are too many."""
    found: set[_Point] = set()
    for level in levels:
        vector = _vector(level, module)
        if vector is None or vector in found:
            continue
        found |= {vector} | {tuple(map(max, vector, other)) for other in found}
        if len(found) > MAX_POINTS:
            return None
    return found


def _amd(new: AmdFloor, old: AmdFloor) -> bool:
    minima = (*new.minima, *old.minima)
    named = {
        selector: {value for m in minima if (value := getattr(m, selector)) is not None}
        for selector in ("model", "stepping")
    }
    # None attested, one that neither floor names, whatever they name, and each that one does.
    models, steppings = ([None, _unnamed(minima, selector), *sorted(named[selector])] for selector in named)
    for model, stepping in product(models, steppings):
        bits = {k: v for k, v in (("cpuid.model", model), ("cpuid.stepping", stepping)) if v is not None}
        wants, had = _asked(new, bits), _asked(old, bits)
        if wants is None:
            continue  # `new` admits nobody here
        if had is None or not _implies(wants, had):
            return False
    return True


_Asked = tuple[Mapping[str, int], Mapping[str, int], int]


def _asked(floor: AmdFloor, bits: Mapping[str, int]) -> _Asked | None:
    """Everything that a floor asks of machines of one model and stepping; None where it admits none of them."""
    tcb: dict[str, int] = {}
    wanted: dict[str, int] = {}
    mitigation = 0
    for minimum in floor.minima:
        applies, unknown = applicable(minimum, bits)
        if unknown:
            return None
        if not applies:
            continue
        for name, want in minimum.tcb.items():
            tcb[name] = max(want, tcb.get(name, 0))
        for name, value in minimum.bits.items():
            if wanted.setdefault(name, value) != value:
                return None
        mitigation |= minimum.mitigation
    return tcb, wanted, mitigation


def _implies(new: _Asked, old: _Asked) -> bool:
    return (
        all(name in new[0] and new[0][name] >= want for name, want in old[0].items())
        and all(name in new[1] and new[1][name] == value for name, value in old[1].items())
        and new[2] & old[2] == old[2]
    )


def edge(floor: Floor) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """(tcb, bits) of machines that meet a floor with nothing to spare; none where no machine can meet it."""
    for tcb, bits in _intel_edge(floor) if isinstance(floor, IntelFloor) else _amd_edge(floor):
        if not shortfalls(floor, tcb, bits):
            yield tcb, bits


def below(floor: Floor) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """(tcb, bits) of machines that just miss a floor: those of its edge with one version lower, or one bit other."""
    for tcb, bits in edge(floor):
        for name, value in tcb.items():
            if value > 0:
                lower = {**tcb, name: value - 1}
                if shortfalls(floor, lower, bits):
                    yield lower, bits
        for name, value in bits.items():
            other = {**bits, name: 0 if value else 1}
            if not name.startswith("cpuid.") and shortfalls(floor, tcb, other):
                yield tcb, other


def attainable(floor: Floor) -> bool:
    """Can any machine meet it? A floor that none can meet is never proposed."""
    return next(edge(floor), None) is not None


def _intel_edge(floor: IntelFloor) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    for level in floor.levels:
        if not floor.admits(level.status, level.advisories):
            continue
        plain = _vector(level, 0)
        if plain is not None:
            yield _of_tee(floor, plain), {}
        if not floor.modular:
            continue
        for name in sorted(floor.modules):
            version = int(name.removeprefix("TDX_"), 16)
            good = [n for n in _isvsvns(name, floor) if _module_admits(floor, name, n)]
            with_module = _vector(level, version)
            if version > 0 and good and with_module is not None:
                yield {**_of_tee(floor, with_module), "tdx.0": good[0]}, {}


def _of_tee(floor: IntelFloor, point: _Point) -> dict[str, int]:
    return {name: value for name, value in _tcb(point).items() if floor.modular or not name.startswith("tdx.")}


def _amd_edge(floor: AmdFloor) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    pairs = dict.fromkeys((m.model, m.stepping) for m in floor.minima) or {(None, None): None}
    for model, stepping in pairs:
        # A model or stepping that no minimum names, where this one leaves it open.
        bits = {
            "cpuid.model": _unnamed(floor.minima, "model") if model is None else model,
            "cpuid.stepping": _unnamed(floor.minima, "stepping") if stepping is None else stepping,
        }
        asked = _asked(floor, bits)
        if asked is None:
            continue
        tcb, wanted, mitigation = asked
        yield dict(tcb), {**bits, **wanted, **({"mitigation.current": mitigation} if mitigation else {})}


def _unnamed(minima: Sequence[Minimum], selector: str) -> int:
    named = {getattr(m, selector) for m in minima}
    return next(n for n in range(256 + len(minima)) if n not in named)
