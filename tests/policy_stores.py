"""What tests of policy stores are told with: an intent, a push, and somebody else's commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dulwich.objects import Blob, Commit, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo
from rego_claims import FROM

from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.ports import Intent, Plan, Written
from streams.stores.git import GitStore

AT = datetime(2026, 3, 1, 2, 11, tzinfo=UTC)
MAIN = Ref(b"refs/heads/main")


def intent(change: str = "c1", snp: int = 24, **more: Any) -> Intent:
    floor = AmdFloor(family="snp/Milan", minima=(Minimum(tcb={"reported.snp": snp}),), provenance=FROM)
    whole = Intent(change, "default", {"snp/Milan": floor.to_data()}, AT, f"SNP {snp}")
    return replace(whole, **more)


def pushed(store: GitStore, want: Intent, base: str | None) -> Written:
    plan = store.plan(want, base)
    assert isinstance(plan, Plan)
    done = store.push(plan)
    assert isinstance(done, Written)
    return done


def somebody_commits(path: Path, author: bytes = b"gitops <bot@example.com>") -> str:
    """Another Git user changes the policy by hand, on top of what is there."""
    with Repo(str(path), bare=True) as repo:
        head = repo.refs.read_ref(MAIN)
        blob, tree, commit = Blob.from_string(b"{}\n"), Tree(), Commit()
        tree.add(b"hand.json", 0o100644, blob.id)
        commit.tree, commit.parents = tree.id, [head] if head else []
        commit.author = commit.committer = author
        commit.author_time = commit.commit_time = 1
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"Lower the floor for tonight\n"
        for one in (blob, tree, commit):
            repo.object_store.add_object(one)
        repo.refs[MAIN] = commit.id
        return commit.id.decode()
