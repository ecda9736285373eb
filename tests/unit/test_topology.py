"""The picture in code: what is read is written by somebody, and what points upwards is known to."""

from __future__ import annotations

import subprocess
import sys

from streams.topology import EXTERNAL, SINKS, SOURCES, STAGES, TOPICS, feedback, mermaid

NAMES = {topic.name for topic in TOPICS}


def test_every_arrow_begins_and_ends_somewhere() -> None:
    written = {topic for stage in STAGES for topic in stage.writes} | set(EXTERNAL)
    read = {topic for stage in STAGES for topic in stage.reads}
    assert written == NAMES
    assert read <= written
    assert NAMES - read == {"verdicts", "dead-letters"}  # these two are for people, and for the archive


def test_no_topic_is_written_from_outside_and_by_a_stage() -> None:
    assert not set(EXTERNAL) & {topic for stage in STAGES for topic in stage.writes}
    assert len(EXTERNAL) == len(set(EXTERNAL)) == sum(map(len, SOURCES.values()))


def test_what_points_upwards_is_taken_in_the_round_after() -> None:
    assert feedback() == {
        "verify": ("changes",),
        "correlate": ("changes", "receipts"),
        "decide": ("changes",),
        "roll-out": ("receipts",),
    }


def test_only_notify_is_a_sink() -> None:
    assert {"notify"} == SINKS


def test_ticks_reach_every_stage_for_which_time_passes() -> None:
    assert {stage.name for stage in STAGES if "ticks" in stage.reads} == {"verify", "correlate", "roll-out", "push"}


def test_the_command_prints_the_picture() -> None:
    done = subprocess.run([sys.executable, "-m", "streams.topology"], capture_output=True, text=True, check=True)
    assert done.stdout == mermaid()
    for stage in STAGES:
        assert f'["{stage.name}"]' in done.stdout
    for source in SOURCES:
        assert source in done.stdout
    for topic in TOPICS:
        assert topic.name in done.stdout


def test_an_arrow_upwards_is_drawn_broken() -> None:
    lines = mermaid().splitlines()
    assert '    roll_out -.->|"changes"| verify' in lines
    assert '    digest -->|"collateral"| verify' in lines
