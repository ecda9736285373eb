"""The embedded executor: what comes out follows from the log alone, and a round is kept whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.event import Event, Json, derived_id, stamp
from ratchet.ports import Log, Record, Unreachable
from streams.clock import GRACE, Live, drive, tick
from streams.embedded import AlreadyRunning, DataDirectoryLock, Embedded, Kept, Sinks, run
from streams.notify import Notify
from streams.sqlite import Database
from streams.stage import Output, State
from streams.topology import STAGES

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def evidence(n: int, at: datetime) -> Output:
    id = derived_id("test", str(n))
    return "evidence", Event(id, "/tests", "evidence.received.v1", f"node-{n}", at, "acme", {"n": n})


class Scripted:
    """A stage of the topology that writes down what it is given and answers as told."""

    def __init__(self, name: str, answer: Callable[[Sequence[Record], State], list[Output]] | None = None) -> None:
        self.name = name
        self.calls: list[tuple[str, list[str]]] = []
        self._answer = answer

    def step(self, batch: Sequence[Record], state: State, watermark: datetime) -> list[Output]:
        self.calls.append((stamp(watermark)[11:16], [f"{r.topic}:{r.event.subject}" for r in batch]))
        return self._answer(batch, state) if self._answer else []


def made(topic: str, name: str, at: datetime = START, **data: Json) -> Output:
    return topic, Event(derived_id(topic, name), "/tests", f"{topic}.v1", name, at, "acme", data)


def executor(path: Path, *stages: Scripted) -> Embedded:
    return Embedded(Database(path), stages)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ratchet.db"


def test_a_stage_gets_its_round_by_time_then_topic_then_id(path: Path) -> None:
    # given evidence that arrived out of order, and a decision at the very time of the tick
    verify = Scripted("verify")
    log = Database(path).log
    log.append([evidence(2, START + 2 * MINUTE), evidence(1, START + MINUTE), ("ticks", tick(START + 2 * MINUTE))])
    assert executor(path, verify).drain() == 1
    # then it comes by time; at one time by the order of `reads`: evidence before the tick
    assert verify.calls == [("00:02", ["evidence:node-1", "evidence:node-2", "ticks:0"])]


def test_what_a_stage_makes_is_read_below_it_in_the_same_round_and_above_it_in_the_next(path: Path) -> None:
    digest = Scripted("digest", lambda batch, state: [made("collateral", "tcb")])
    verify = Scripted("verify")
    roll_out = Scripted("roll-out", lambda batch, state: [made("changes", "opa")] if len(roll_out.calls) == 1 else [])
    log = Database(path).log
    document = made("documents", "tcb_info")
    log.append([document, ("ticks", tick(START)), ("ticks", tick(START + MINUTE)), ("ticks", tick(START + 2 * MINUTE))])
    assert executor(path, roll_out, verify, digest).drain() == 3
    assert [subjects for _, subjects in verify.calls] == [
        ["collateral:tcb", "ticks:0"],
        ["changes:opa", "ticks:0"],
        ["ticks:0"],
    ]


def test_a_stage_without_input_is_not_called(path: Path) -> None:
    digest = Scripted("digest")
    Database(path).log.append([("ticks", tick(START))])
    executor(path, digest).drain()
    assert digest.calls == []


def test_a_record_said_twice_is_seen_once_below(path: Path) -> None:
    digest = Scripted("digest", lambda batch, state: [made("collateral", "same")] * 2)
    decide = Scripted("decide")
    log = Database(path).log
    log.append(
        [made("documents", "a"), ("ticks", tick(START)), made("documents", "b"), ("ticks", tick(START + MINUTE))]
    )
    executor(path, digest, decide).drain()
    assert decide.calls == [("00:00", ["collateral:same"])]


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.integers(0, 30), min_size=1, max_size=25),
    cuts=st.sets(st.integers(0, 40)),
    restarts=st.sets(st.integers(0, 40)),
)
def test_batches_and_restarts_cannot_show(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], cuts: set[int], restarts: set[int]
) -> None:
    """The same records give the same log and state, whether rounds run as they close or all at the end, in one process
    or many."""

    def count(batch: Sequence[Record], state: State) -> list[Output]:
        out = []
        for record in batch:
            if record.topic == "evidence":
                total = (state.get("n") or {"n": 0})["n"] + 1
                state.put("n", {"n": total})
                out.append(made("verdicts", f"{record.event.subject}-{total}", record.event.time, total=total))
        return out

    def result(path: Path, each: bool) -> tuple[list[tuple[str, Json]], dict[str, Json]]:
        database = Database(path)
        running = Embedded(database, [Scripted("verify", count)])
        outputs = [evidence(n, START + at * MINUTE) for n, at in enumerate(sorted(times))]
        for place, one in enumerate(drive(outputs, 5 * MINUTE)):
            database.log.append([one])
            if each and place in cuts:
                running.drain()
            if each and place in restarts:
                database.close()
                database = Database(path)
                running = Embedded(database, [Scripted("verify", count)])
        running.drain()
        made_ = [(r.event.id, r.event.data) for r in database.log.read(["verdicts"], 0, 1000)]
        kept = database.state("verify")
        database.close()
        return made_, kept

    folder = tmp_path_factory.mktemp("rounds")
    at_the_end = result(folder / "one.db", False)
    assert result(folder / "two.db", True) == at_the_end
    assert at_the_end[1] == {"n": {"n": len(times)}}


def test_a_round_that_fails_leaves_nothing_and_is_computed_again(path: Path) -> None:
    # given a stage that changes its state, and one below it that fails
    def work(batch: Sequence[Record], state: State) -> list[Output]:
        state.put("seen", (state.get("seen") or 0) + 1)
        return [made("signals", "s")]

    def fail(batch: Sequence[Record], state: State) -> list[Output]:
        raise MemoryError

    Database(path).log.append([evidence(1, START), ("ticks", tick(START))])
    broken = executor(path, Scripted("verify", work), Scripted("correlate", fail))
    with pytest.raises(MemoryError):
        broken.run_round()
    # then nothing is on disk, and the executor that failed cannot go on with what it has in memory
    assert Database(path).state("verify") == {}
    assert Database(path).log.read(["signals"], 0, 10) == []
    with pytest.raises(RuntimeError, match="anew"):
        broken.run_round()
    # when it is made anew, then the round is computed as if nothing had happened
    executor(path, Scripted("verify", work), Scripted("correlate")).drain()
    assert Database(path).state("verify") == {"seen": 1}


def test_state_is_as_it_will_be_read_after_a_restart(path: Path) -> None:
    shared = ["a"]
    state = Kept({"b": 1, "a/2": 2})
    state.put("a/1", {"pair": (1, 2), "shared": shared})
    shared.append("changed behind its back")
    assert state.get("a/1") == {"pair": [1, 2], "shared": ["a"]}
    assert [key for key, _ in state.scan("a/")] == ["a/1", "a/2"]
    state.delete("a/2")
    state.delete("never there")
    assert [key for key, _ in state.scan("")] == ["a/1", "b"]


@given(
    st.lists(st.tuples(st.sampled_from("pd"), st.text("ab/", max_size=3), st.integers()), max_size=40),
    st.text("ab/", max_size=2),
)
def test_state_is_a_sorted_map(steps: list[tuple[str, str, int]], prefix: str) -> None:
    state, model = Kept({}), {}
    for what, key, value in steps:
        if what == "p":
            state.put(key, value)
            model[key] = value
        else:
            state.delete(key)
            model.pop(key, None)
    assert list(state.scan(prefix)) == sorted((k, v) for k, v in model.items() if k.startswith(prefix))


def test_one_executor_a_data_directory(path: Path) -> None:
    claim = DataDirectoryLock(path)
    # another process is refused, and told who has it
    script = "from pathlib import Path; from streams.embedded import DataDirectoryLock; "
    script += f"DataDirectoryLock(Path({str(path)!r}))"
    refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "AlreadyRunning" in refused.stderr
    assert "stop it first" in refused.stderr
    with pytest.raises(AlreadyRunning):
        DataDirectoryLock(path)
    # once it is given back, it can be had
    claim.release()
    DataDirectoryLock(path).release()


# The clock


def test_ticks_come_after_what_they_close_and_on_a_grid() -> None:
    outputs = [
        evidence(1, START + timedelta(minutes=3)),
        evidence(2, START + timedelta(minutes=5)),
        evidence(3, START + timedelta(minutes=17)),
    ]
    made_ = list(drive(outputs, 5 * MINUTE))
    assert [stamp(e.time)[11:16] + (" tick" if t == "ticks" else "") for t, e in made_] == [
        "00:03", "00:05", "00:05 tick", "00:10 tick", "00:15 tick", "00:17", "00:20 tick",
    ]  # fmt: skip


def test_a_run_that_is_taken_up_again_makes_the_same_ticks_and_none_before_the_last() -> None:
    outputs = [evidence(1, START + 3 * MINUTE), evidence(2, START + 47 * MINUTE)]
    whole = list(drive(outputs, 5 * MINUTE, idle=15 * MINUTE, until=START + 60 * MINUTE))
    ticks = [e.time for t, e in whole if t == "ticks"]
    assert [(t - START) // MINUTE for t in ticks] == [5, 15, 30, 45, 50, 60]
    again = list(drive(outputs, 5 * MINUTE, idle=15 * MINUTE, until=START + 60 * MINUTE, last=ticks[2]))
    assert [e.time for t, e in again if t == "ticks"] == ticks[3:]


def test_records_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="in order of time"):
        list(drive([evidence(1, START + MINUTE), evidence(2, START)], MINUTE))
    with pytest.raises(ValueError, match="multiple"):
        list(drive([], 2 * MINUTE, idle=3 * MINUTE))


def test_the_live_clock_ticks_soon_when_something_waits_and_seldom_when_nothing_does(path: Path) -> None:
    wall = [START]
    database = Database(path)
    clock = Live(database.log, database, now=lambda: wall[0])

    def ticks_after(seconds: float) -> int:
        before = len(database.log.read(["ticks"], 0, 1000))
        wall[0] += timedelta(seconds=seconds)
        clock.beat()
        return len(database.log.read(["ticks"], 0, 1000)) - before

    assert ticks_after(0) == 1  # at once, so that the first round has a beginning
    assert ticks_after(0.3) == 0
    database.log.append([evidence(1, wall[0])])
    assert ticks_after(0.3) == 1
    assert ticks_after(0.3) == 0
    assert ticks_after(5) == 1
    # and it stays behind the wall, so that evidence on its way to the disk is not late
    assert database.last_tick() == wall[0] - GRACE


def test_a_clock_that_is_set_back_does_not_stop_the_stream(path: Path) -> None:
    wall = [START]
    database = Database(path)
    clock = Live(database.log, database, now=lambda: wall[0])
    clock.beat()
    wall[0] -= timedelta(hours=3)
    database.log.append([evidence(1, wall[0])])
    clock.beat()
    last = database.last_tick()
    assert last is not None
    assert START - GRACE < last < START
    assert not database.pending()


# Sinks


class Listener:
    def __init__(self, name: str = "siem") -> None:
        self.name = name
        self.heard: list[str] = []
        self.fault: Exception | None = None

    def send(self, event: Event) -> None:
        if self.fault:
            raise self.fault
        self.heard.append(event.subject)


def alerting(path: Path, *names: str) -> Database:
    """A database on which these alerts were raised, one a round."""
    database = Database(path)
    waiting = list(names)
    stage = Scripted("correlate", lambda batch, state: [made("alerts", waiting.pop(0))] if waiting else [])
    database.log.append([("ticks", tick(START + n * MINUTE)) for n in range(len(names))])
    Embedded(database, [stage]).drain()
    return database


def test_each_notifier_goes_on_from_its_own_position(path: Path) -> None:
    database = alerting(path, "a", "b", "c")
    up, down = Listener("up"), Listener("down")
    down.fault = Unreachable("down", "refused")
    Sinks(database, [Notify([up, down])]).drain()
    assert (up.heard, down.heard) == (["a", "b", "c"], [])
    # it is not tried again before its time, which is counted in ticks
    down.fault = None
    Sinks(database, [Notify([up, down])]).drain()
    assert down.heard == []
    database.log.append([("ticks", tick(START + timedelta(hours=1)))])
    Embedded(database, []).drain()
    Sinks(database, [Notify([up, down])]).drain()
    assert (up.heard, down.heard) == (["a", "b", "c"], ["a", "b", "c"])


def test_a_notifier_that_stays_down_is_tried_less_and_less_and_shown(path: Path) -> None:
    database = alerting(path, "a")
    down = Listener()
    down.fault = Unreachable("siem", "connection refused")
    attempts = 0
    for minute in range(1, 24 * 60):
        database.log.append([("ticks", tick(START + minute * MINUTE))])
        Embedded(database, []).drain()
        before = database.state("notify").get("notifier/siem")
        Sinks(database, [Notify([down])]).drain()
        attempts += database.state("notify")["notifier/siem"] != before
    kept = database.state("notify")["notifier/siem"]
    assert 24 <= attempts <= 24 + 16  # hourly in the end: notify.LONGEST
    assert kept["failures"] == attempts
    assert "connection refused" in kept["error"]
    assert kept["since"] == stamp(START + MINUTE)


def test_a_notifiers_own_fault_stops_nothing(path: Path) -> None:
    database = alerting(path, "a")
    broken = Listener()
    broken.fault = KeyError("rule")
    Sinks(database, [Notify([broken])]).drain()
    assert "KeyError" in database.state("notify")["notifier/siem"]["error"]


def test_running_live_rounds_go_on_while_a_notifier_hangs(path: Path) -> None:
    """The live loop, with a clock that the test moves: one alert a tick, and a notifier stuck in its first delivery."""
    database = Database(path)
    stop, stuck, release = threading.Event(), threading.Event(), threading.Event()

    class Stuck(Listener):
        def send(self, event: Event) -> None:
            stuck.set()
            assert release.wait(30)
            super().send(event)

    class Beat:
        ticks = 0

        def beat(self) -> float:
            if self.ticks == 1:
                assert stuck.wait(30)  # the notifier hangs from here on
            if self.ticks == 20:
                stop.set()
            self.ticks += 1
            database.log.append([("ticks", tick(START + self.ticks * MINUTE))])
            return 0

    count = iter(range(1000))
    stage = Scripted("correlate", lambda batch, state: [made("alerts", str(next(count)))])
    listener = Stuck()
    timer = threading.Thread(target=lambda: (stop.wait(30), release.set()))
    timer.start()
    run(Embedded(database, [stage]), Sinks(database, [Notify([listener])]), Beat(), stop)
    timer.join()
    assert database.position().round == 21
    assert listener.heard  # it was heard in the end, and the rest waits for the next start
    Sinks(database, [Notify([Listener()])]).drain()


def test_a_sinks_failure_ends_the_live_loop(path: Path) -> None:
    class Broken:
        name = "notify"

        def deliver(self, log: Log, state: State, watermark: datetime) -> bool:
            raise MemoryError

    database = Database(path)
    clock = Live(database.log, database, now=lambda: START)
    with pytest.raises(MemoryError):
        run(Embedded(database, []), Sinks(database, [Broken()]), clock, threading.Event())


def test_every_stage_of_the_topology_has_a_name_that_the_executor_knows(path: Path) -> None:
    with pytest.raises(ValueError, match="unheard"):
        executor(path, Scripted("unheard-of"))
    assert executor(path, *(Scripted(stage.name) for stage in STAGES)).drain() == 0
