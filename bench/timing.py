"""How things are timed here: in turns, so that a machine that slows down slows all alike; the median counts."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from statistics import median

Work = Callable[[], object]

ROUNDS = 61
"""Turns: many short ones, so that a neighbour's load meets all alike. The median of an odd number is one seen."""


def rates(works: Mapping[str, Work], seconds: float) -> dict[str, float]:
    """Calls a second of each, measured in turns: a b c a b c …

    Args:
        works: name -> what to call; each must do the same amount of work at each call.
        seconds: for all of it, about.
    """
    share = seconds / (ROUNDS * len(works))
    calls = {}
    for name, work in works.items():
        work()
        calls[name] = max(1, round(share / max(_took(work, 3) / 3, 1e-7)))
    seen: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name, work in works.items():
                seen[name].append(calls[name] / _took(work, calls[name]))
    finally:
        gc.enable()
    return {name: median(found) for name, found in seen.items()}


def _took(work: Work, calls: int) -> float:
    began = time.thread_time()  # the core's time: what others take of it meanwhile is not the work's
    for _ in range(calls):
        work()
    return time.thread_time() - began
