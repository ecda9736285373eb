"""The policy repository: readable, one commit a change, and never written over somebody else's work."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from dulwich.objects import Blob, Commit
from dulwich.repo import Repo
from policy_stores import AT, MAIN, intent, pushed, somebody_commits

from ratchet.ports import Drifted, Plan, Receipt, Refused, Samples, Unreachable, Written
from streams.stores.git import AUTHOR, GitStore
from streams.stores.rego import RegoInProcess

NOTHING = Samples((), ())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.git"


@pytest.fixture
def store(path: Path) -> GitStore:
    return GitStore(path, RegoInProcess())


def test_a_change_is_a_commit_that_people_can_read(store: GitStore, path: Path) -> None:
    done = pushed(store, intent(), None)
    with Repo(str(path), bare=True) as repo:
        commit = repo[done.revision.encode()]
        assert isinstance(commit, Commit)
        assert commit.message == b"SNP 24\n\nRatchet-Change: c1\nRatchet-Tenant: default\n"
        assert (commit.author, commit.commit_time, commit.commit_timezone) == (AUTHOR, int(AT.timestamp()), 0)
    files = store.dump()["files"]
    assert set(files) == {
        "default/change.json",
        "default/floors/snp/Milan.json",
        "default/policy.json",
        "default/opa/ratchet/decision.rego",
        "default/opa/ratchet_policy/data.json",
    }


def test_a_raised_component_is_one_changed_line(store: GitStore) -> None:
    before = store.policy(pushed(store, intent(), None).revision, "default").files["ratchet_policy/data.json"]
    head = store.dump()["head"]
    after = store.policy(pushed(store, intent("c2", 25), head).revision, "default").files["ratchet_policy/data.json"]
    lines = {
        line for line in set(before.splitlines()) ^ set(after.splitlines()) if not line.startswith(b'  "policy": ')
    }
    assert lines == {
        b'            "reported.snp": 24',
        b'            "reported.snp": 25',
        b'  "change": "c1",',
        b'  "change": "c2",',
    }


def test_the_plan_says_which_files_change(store: GitStore) -> None:
    done = pushed(store, intent(), None)
    plan = store.plan(intent("c2", 25), done.revision)
    assert isinstance(plan, Plan)
    assert plan.base == done.revision
    assert "changes floors/snp/Milan.json" in plan.summary
    assert not any("reference-values" in line for line in plan.summary)


def test_another_tenants_policy_stays(store: GitStore) -> None:
    done = pushed(store, intent(), None)
    pushed(store, intent("c2", 25, tenant="other"), done.revision)
    files = store.dump()["files"]
    assert "default/floors/snp/Milan.json" in files
    assert "other/floors/snp/Milan.json" in files


def test_equal_changes_make_equal_commits_anywhere(tmp_path: Path) -> None:
    here, there = (GitStore(tmp_path / name / "policy.git", RegoInProcess()) for name in ("a", "b"))
    assert pushed(here, intent(), None) == pushed(there, intent(), None)
    assert here.dump() == there.dump()


def test_a_repeat_after_a_crash_is_recognised_and_writes_nothing(store: GitStore) -> None:
    done = pushed(store, intent(), None)
    before = store.dump()
    assert store.plan(intent(), None) == done
    assert store.plan(intent(), done.revision) == done  # written and recorded, proof still to be had
    assert store.dump() == before


def test_two_changes_lost_in_one_crash_are_both_recognised_and_proved(store: GitStore) -> None:
    first = pushed(store, intent(), None)
    second = pushed(store, intent("c2", 25), first.revision)
    # when both are brought again, from the state before either
    assert store.plan(intent(), None) == first
    assert isinstance(store.prove(first, NOTHING), Receipt)
    assert store.plan(intent("c2", 25), first.revision) == second
    assert isinstance(store.prove(second, NOTHING), Receipt)


def test_a_change_id_on_other_content_is_not_taken_for_a_repeat(store: GitStore) -> None:
    pushed(store, intent(), None)
    assert isinstance(store.plan(intent(snp=1), None), Drifted)


def test_a_foreign_commit_is_drift_and_is_never_overwritten(store: GitStore, path: Path) -> None:
    done = pushed(store, intent(), None)
    foreign = somebody_commits(path)
    drift = store.check(done.revision)
    assert isinstance(drift, Drifted)
    assert (drift.expected, drift.found) == (done.revision, foreign)
    assert "gitops" in drift.detail
    assert "Lower the floor" in drift.detail
    assert isinstance(store.plan(intent("c2", 25), done.revision), Drifted)
    assert isinstance(store.prove(done, NOTHING), Drifted)
    assert store.dump()["head"] == foreign
    # and once it is put back, all is well again
    with Repo(str(path), bare=True) as repo:
        repo.refs[MAIN] = done.revision.encode()
    assert store.check(done.revision) is None


def test_a_foreign_commit_below_ours_is_drift_too(store: GitStore, path: Path) -> None:
    pushed(store, intent(), None)
    # given that the database was lost, or the repository is somebody else's: nothing of ours is expected there
    assert isinstance(store.plan(intent("c2"), None), Drifted)
    assert store.check(None) is not None
    # and a commit in our name, on top of somebody's, is not the one we would make on what we know
    foreign = somebody_commits(path)
    on_top = pushed(store, intent("c3"), foreign)
    assert isinstance(store.plan(intent("c3"), None), Drifted)
    assert on_top.base == foreign


def test_a_branch_that_went_away_is_drift(store: GitStore, path: Path) -> None:
    done = pushed(store, intent(), None)
    with Repo(str(path), bare=True) as repo:
        del repo.refs[MAIN]
    drift = store.check(done.revision)
    assert isinstance(drift, Drifted)
    assert drift.found is None
    assert isinstance(store.plan(intent("c2"), done.revision), Drifted)


def test_the_swap_compares(store: GitStore, path: Path) -> None:
    done = pushed(store, intent(), None)
    plan = store.plan(intent("c2", 25), done.revision)
    assert isinstance(plan, Plan)
    foreign = somebody_commits(path)  # between plan and push
    drift = store.push(plan)
    assert isinstance(drift, Drifted)
    assert drift.found == foreign
    assert store.dump()["head"] == foreign


def test_somebody_who_commits_in_the_middle_of_a_push_is_not_overwritten(
    store: GitStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = pushed(store, intent(), None)
    plan = store.plan(intent("c2", 25), done.revision)
    assert isinstance(plan, Plan)
    link = os.link
    # given another Git that moves the branch just before we hold its lock
    monkeypatch.setattr(os, "link", lambda *a, **kw: (somebody_commits(path), link(*a, **kw)))
    drift = store.push(plan)
    assert isinstance(drift, Drifted)
    assert "gitops" in drift.detail
    assert store.dump()["head"] == drift.found
    assert not (path / "refs/heads/main.lock").exists()


def _race(path: str, number: int, barrier: Any, results: Any) -> None:
    store = GitStore(Path(path), RegoInProcess())
    plan = store.plan(intent(f"race{number}", number), None)
    barrier.wait()
    assert isinstance(plan, Plan)
    results.put(type(store.push(plan)).__name__)


def test_of_processes_that_push_on_one_base_exactly_one_wins(store: GitStore, path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(4), spawn.Queue()
    racers = [spawn.Process(target=_race, args=(str(path), n, barrier, results)) for n in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(results.get(timeout=5) for _ in racers) == ["Drifted", "Drifted", "Drifted", "Written"]
    assert len(store.dump()["commits"]) == 1


def test_a_lock_of_another_git_is_waited_for(store: GitStore, path: Path) -> None:
    done = pushed(store, intent(), None)
    lock = path / "refs/heads/main.lock"
    lock.touch()
    plan = store.plan(intent("c2", 25), done.revision)
    assert isinstance(plan, Plan)
    with pytest.raises(Unreachable, match=r"main\.lock"):
        store.push(plan)
    assert lock.exists()
    lock.unlink()
    assert isinstance(store.push(plan), Written)


class Killed(BaseException):
    """As SIGKILL: nothing in the code catches it."""


def test_a_kill_at_any_step_of_a_push_leaves_something_that_the_next_one_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # counted below, but not waited for
    whole = GitStore(tmp_path / "whole" / "policy.git", RegoInProcess())
    first = pushed(whole, intent(), None)
    pushed(whole, intent("c2", 25), first.revision)
    for kill_at in range(200):
        path = tmp_path / str(kill_at) / "policy.git"
        store, calls = GitStore(path, RegoInProcess()), iter(range(1000))
        dead = False

        def step(real: Any, calls: Any = calls, kill_at: int = kill_at) -> Any:
            def stepped(*args: Any, **kw: Any) -> Any:
                nonlocal dead
                # A dead process cleans nothing up: what runs after the kill has no effect either.
                if dead or next(calls) == kill_at:
                    dead = True
                    raise Killed
                return real(*args, **kw)

            return stepped

        with monkeypatch.context() as patched:
            for module, name in (
                (os, "replace"),
                (os, "rename"),
                (os, "link"),
                (os, "fsync"),
                (Path, "unlink"),
                (Path, "mkdir"),
            ):
                patched.setattr(module, name, step(getattr(module, name)))
            try:
                for change, snp in (("c1", 24), ("c2", 25)):
                    plan = store.plan(intent(change, snp), None if change == "c1" else first.revision)
                    assert isinstance(plan, Plan)
                    store.push(plan)
            except Killed:
                pass
        base: str | None = None
        for change, snp in (("c1", 24), ("c2", 25)):
            again = store.plan(intent(change, snp), base)
            done = store.push(again) if isinstance(again, Plan) else again
            assert isinstance(done, Written), (kill_at, done)
            base = done.revision
        assert store.dump() == whole.dump()
        if not dead:
            assert kill_at > 30, kill_at
            return
    pytest.fail("a push takes more steps than were tried")


@pytest.mark.parametrize("bytes_", [b"garbage", b"", Blob.from_string(b"{}\n").as_legacy_object()])
def test_an_object_that_was_damaged_on_disk_gives_no_receipt(store: GitStore, path: Path, bytes_: bytes) -> None:
    done = pushed(store, intent(), None)
    with Repo(str(path), bare=True) as repo:
        blob = next(o for o in map(repo.object_store.__getitem__, repo.object_store) if isinstance(o, Blob))
    file = path / "objects" / blob.id[:2].decode() / blob.id[2:].decode()
    file.chmod(0o644)
    file.write_bytes(bytes_)
    with pytest.raises(Unreachable):
        store.prove(done, NOTHING)


def test_samples_decide_whether_there_is_a_receipt(store: GitStore) -> None:
    done = pushed(store, intent(), None)
    good = {"family": "snp/Milan", "tee": "snp", "measurement": "aa", "debug": False, "genuine": True}
    stale, fresh = (good | {"tcb": {"reported.snp": n}, "bits": {}} for n in (23, 24))
    assert isinstance(store.prove(done, Samples((stale,), (fresh,))), Receipt)
    drift = store.prove(done, Samples((fresh,), ()))
    assert isinstance(drift, Drifted)
    assert drift.found == drift.expected == done.revision


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "../up"},
        {"tenant": ".git"},
        {"tenant": ""},
        {"change": "c1\nRatchet-Change: c2"},
        {"floors": {"snp": {}}},
        {"floors": {"snp/..": {}}},
        {"floors": {"snp/a/b": {}}},
    ],
)
def test_names_that_are_no_files_are_refused(store: GitStore, changed: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        store.plan(intent(**changed), None)
    assert store.dump()["head"] is None


def test_a_reason_cannot_forge_a_trailer(store: GitStore) -> None:
    done = pushed(store, intent(reason="fine\n\nRatchet-Change: c9\x00\x1b[2J"), None)
    assert store.committed("c9", "default") is None
    found = store.committed("c1", "default")
    assert found is not None
    assert found.commit == done.revision


def test_what_is_no_repository_cannot_be_reached(store: GitStore, path: Path) -> None:
    path.mkdir()
    plan = store.plan(intent(), None)
    assert isinstance(plan, Plan)
    with pytest.raises(Unreachable):
        store.push(plan)
    assert list(path.iterdir()) == []


def test_a_commit_records_the_newest_link_of_the_hash_chain(path: Path) -> None:
    heads = iter([f"7:{'ab' * 32}", f"9:{'cd' * 32}", f"11:{'ef' * 32}"])
    store = GitStore(path, RegoInProcess(), head=lambda: next(heads))
    first = pushed(store, intent(), None)
    pushed(store, intent("c2", 25), first.revision)
    assert list(store.heads()) == [f"9:{'cd' * 32}", f"7:{'ab' * 32}"]


def test_a_push_that_is_found_again_is_the_same_though_the_chain_went_on(path: Path) -> None:
    """A crash after the commit: it is recognised by its change, and not made a second time."""
    heads = iter([f"7:{'ab' * 32}"])
    done = pushed(GitStore(path, RegoInProcess(), head=lambda: next(heads)), intent(), None)
    again = GitStore(path, RegoInProcess(), head=lambda: f"8:{'cd' * 32}").plan(intent(), None)
    assert isinstance(again, Written)
    assert again.revision == done.revision
