"""A bare Git repository as a policy store: readable files, one commit a change, the branch swapped by comparison.

A commit follows from its parent and its intent alone (event time, a fixed author, no clock), so a push repeated after a
crash makes the same commit. A branch whose head we did not write is drift: it is reported, never overwritten.

Sources: gitrepository-layout(5) for where objects and refs are, gitformat-loose(5) for loose objects, and Git's own
lock protocol (Documentation/technical/api-lockfile: `<ref>.lock`, created exclusively, renamed over the ref), which
holds between this module and any other Git.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TypeVar

from dulwich.errors import ChecksumMismatch, FileFormatException, NotGitRepository
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from ratchet.event import Json, digest
from ratchet.ports import Drifted, Intent, Plan, Receipt, Samples, Unreachable, Written
from streams.stores.durable import held, sync_folder, write_fresh
from streams.stores.layout import files_of, served
from streams.stores.rego import Policy, Prover, prove

AUTHOR = b"Ratchet <ratchet@ratchet.invalid>"
"""Of every commit of ours. `.invalid` can be nobody's address (RFC 2606, 2)."""

MAX_WALK = 10_000
"""Commits looked through for one change; more of them since our last record is nothing a crash can leave."""

_FILE, _FOLDER = 0o100644, 0o040000

_UNREADABLE = (OSError, KeyError, ValueError, zlib.error, ChecksumMismatch, FileFormatException, NotGitRepository)
"""What reading a missing, damaged or foreign repository raises."""

T = TypeVar("T", bound=ShaFile)


@dataclass(frozen=True, slots=True)
class Committed:
    """A change as the repository holds it.

    Attributes:
        commit: its id, hex.
        parent: the commit it was made on; None for the first.
        change: the change's id, from the message.
        tenant: whose, from the message.
        overtaken: whether the branch has gone on since.
    """

    commit: str
    parent: str | None
    change: str
    tenant: str
    overtaken: bool


class GitStore:
    """The policy repository.

    Args:
        path: of the bare repository; made at the first push.
        prover: decides samples on the policy that a commit holds.
        name: among the stores.
        branch: that holds the policy.
    """

    def __init__(
        self,
        path: Path,
        prover: Prover,
        *,
        name: str = "git",
        branch: str = "main",
        head: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._path, self._prover, self._name, self._chain = path, prover, name, head
        self._ref = Ref(f"refs/heads/{branch}".encode())

    @property
    def name(self) -> str:
        """Unique among the configured stores."""
        return self._name

    @property
    def built_from(self) -> str | None:
        """None: this is the first to hold a change."""
        return None

    def plan(self, want: Intent, expected: str | None) -> Plan | Written | Drifted:
        """What a push would change. See `ratchet.ports.PolicyStore.plan`."""
        files = files_of(want)
        with self._open() as repo:
            head = self._head(repo)
            found = self._find(repo, head, want.change, expected)
            on_top = found is not None and expected in (found.parent, found.commit)
            if found is not None and on_top and self._faithful(repo, found, want, files):
                return Written(self._name, want, found.parent, found.commit)
            if head != expected:
                return self._drift(want.change, expected, head, repo)
            before = self._files(repo, head, want.tenant)
        return Plan(self._name, head, want, _summary(before, files))

    def push(self, plan: Plan) -> Written | Drifted:
        """Commit on top of `plan.base` and swap the branch, if it still is that commit."""
        files = files_of(plan.intent)
        with self._writing():
            self._create()
            with self._open() as repo:
                assert repo is not None
                if (head := self._head(repo)) != plan.base:
                    return self._drift(plan.intent.change, plan.base, head, repo)
                objects, commit = self._commit(repo, plan.base, plan.intent, files, self._chain())
                for one in objects:
                    self._keep(one)
                self._keep(commit)
                if not self._swap(plan.base, commit.id):
                    return self._drift(plan.intent.change, plan.base, self._head(repo), repo)
        return Written(self._name, plan.intent, plan.base, commit.id.decode())

    def prove(self, done: Written, samples: Samples) -> Receipt | Drifted:
        """Read the commit back from disk, file by file, then let its policy decide the samples."""
        change = done.intent.change
        with self._open() as repo:
            head = self._head(repo)
            found = self._find(repo, head, change, done.revision)
            if found is None or found.commit != done.revision or not self._ours_since(repo, head, done.revision):
                return self._drift(change, done.revision, head, repo)
            files = self._files(repo, done.revision, done.intent.tenant)
        if files != files_of(done.intent):
            return Drifted(self._name, change, done.revision, head, "the commit does not hold the files of its change")
        return prove(self._name, self._prover, Policy(done.revision, served(files)), done, samples)

    def refresh(self, expected: str | None) -> None:
        """A commit holds the policy and nothing beside it."""

    def check(self, expected: str | None) -> Drifted | None:
        """Is the branch where we left it?"""
        with self._open() as repo:
            head = self._head(repo)
            return None if head == expected else self._drift(None, expected, head, repo)

    def committed(self, change: str, tenant: str) -> Committed | None:
        """The commit of ours that holds this tenant's change; None where the branch has none."""
        with self._open() as repo:
            found = self._find(repo, self._head(repo), change, None)
        return found if found is not None and found.tenant == tenant else None

    def heads(self) -> Iterator[str]:
        """Heads of the hash chain that our commits recorded, from the newest."""
        with self._open() as repo:
            if repo is None:
                return
            for commit in self._walk(repo, self._head(repo)):
                if given := (_trailers(commit) or {}).get("Ratchet-Head"):
                    yield given

    def follows(self, later: str | None, earlier: str) -> bool:
        """Whether commit `later` is `earlier`, or follows it by commits of ours alone."""
        with self._open() as repo:
            return later is not None and repo is not None and self._ours_since(repo, later, earlier)

    def policy(self, commit: str, tenant: str) -> Policy:
        """What OPA is to be served of a commit.

        Raises:
            Unreachable: the repository does not hold it.
        """
        with self._open() as repo:
            return Policy(commit, served(self._files(repo, commit, tenant)))

    def dump(self) -> dict[str, Json]:
        """The branch as JSON: head, commits from the newest, files of the head by hash. For comparing two of them."""
        with self._open() as repo:
            head = self._head(repo)
            commits = [] if repo is None else [c.id.decode() for c in self._walk(repo, head)]
            tree = {} if repo is None or head is None else dict(_tree(repo, _commit(repo, head).tree))
        return {"head": head, "commits": commits, "files": {path: digest(data) for path, data in sorted(tree.items())}}

    # Reading

    @contextmanager
    def _open(self) -> Iterator[Repo | None]:
        """The repository as it is now; None before the first push. What goes wrong with disks is Unreachable."""
        try:
            if not self._path.exists():
                yield None
                return
            repo = Repo(str(self._path), bare=True)
            try:
                yield repo
            finally:
                repo.close()
        except _UNREADABLE as why:
            raise Unreachable(self._name, f"{self._path}: {why}") from why

    def _head(self, repo: Repo | None) -> str | None:
        head = repo.refs.read_ref(self._ref) if repo is not None else None
        return head.decode() if head else None

    def _walk(self, repo: Repo, head: str | None) -> Iterator[Commit]:
        """Commits from `head` back, by first parents."""
        for _ in range(MAX_WALK):
            if head is None:
                return
            commit = _commit(repo, head)
            yield commit
            head = commit.parents[0].decode() if commit.parents else None

    def _find(self, repo: Repo | None, head: str | None, change: str, until: str | None) -> Committed | None:
        """The commit of that change, from `head` back to `until`, that one too."""
        if repo is None:
            return None
        for commit in self._walk(repo, head):
            commit_id, parent = commit.id.decode(), commit.parents[0].decode() if commit.parents else None
            trailers = _trailers(commit)
            if trailers is not None and trailers["Ratchet-Change"] == change:
                return Committed(commit_id, parent, change, trailers["Ratchet-Tenant"], commit_id != head)
            if commit_id == until:
                return None
        return None

    def _faithful(self, repo: Repo | None, found: Committed, want: Intent, files: Mapping[str, bytes]) -> bool:
        """Whether the commit is the very one that we would make of this intent: its id says so."""
        if repo is None:
            return False
        chain = (_trailers(_commit(repo, found.commit)) or {}).get("Ratchet-Head")
        return self._commit(repo, found.parent, want, files, chain)[1].id.decode() == found.commit

    def _ours_since(self, repo: Repo | None, head: str | None, commit: str) -> bool:
        """Whether everything after `commit` has the form of a commit of ours (a crash between changes leaves that)."""
        if repo is None:
            return False
        for one in self._walk(repo, head):
            if one.id.decode() == commit:
                return True
            if _trailers(one) is None:
                return False
        return False

    def _files(self, repo: Repo | None, commit: str | None, tenant: str) -> dict[str, bytes]:
        if repo is None or commit is None:
            return {}
        root = _object(repo, _commit(repo, commit).tree, Tree)
        name = tenant.encode()
        return dict(_tree(repo, root[name][1])) if name in root and root[name][0] == _FOLDER else {}

    def _drift(self, change: str | None, expected: str | None, found: str | None, repo: Repo | None) -> Drifted:
        if found is None:
            detail = "the branch is gone"
        elif repo is None:
            detail = "the repository is gone"
        else:
            commit = _commit(repo, found)
            subject = commit.message.decode("utf-8", "replace").partition("\n")[0]
            detail = f"written by {commit.author.decode('utf-8', 'replace')[:120]}: {subject[:120]}"
        return Drifted(self._name, change, expected, found, detail)

    # Writing

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer of ours at a time; a killed one lets go by itself."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with held(self._path.with_name(self._path.name + ".lock")):
                yield
        except OSError as why:
            raise Unreachable(self._name, f"{self._path}: {why}") from why

    def _create(self) -> None:
        """Make the repository aside, then rename it: a crash never leaves half of one."""
        if self._path.exists():
            return
        aside = self._path.with_name(self._path.name + ".new")
        shutil.rmtree(aside, ignore_errors=True)
        Repo.init_bare(str(aside), mkdir=True, default_branch=self._ref.removeprefix(b"refs/heads/")).close()
        os.rename(aside, self._path)
        sync_folder(self._path.parent)

    def _commit(
        self, repo: Repo, base: str | None, intent: Intent, files: Mapping[str, bytes], chain: str | None
    ) -> tuple[list[ShaFile], Commit]:
        """The commit of an intent on top of `base`, and the blobs and trees it needs, in an order safe to write."""
        objects: list[ShaFile] = []
        root = _object(repo, _commit(repo, base).tree, Tree).copy() if base is not None else Tree()
        assert isinstance(root, Tree)
        root[intent.tenant.encode()] = (_FOLDER, _plant(files, objects))
        objects.append(root)
        commit = Commit()
        commit.tree = root.id
        commit.parents = [ObjectID(base.encode())] if base is not None else []
        commit.author = commit.committer = AUTHOR
        commit.author_time = commit.commit_time = int(intent.at.astimezone(UTC).timestamp())
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = _message(intent, chain)
        return objects, commit

    def _keep(self, one: ShaFile) -> None:
        """Write a loose object, synced before it gets its name, so that a ref never points at half of something.

        Not by dulwich's own `add_object`: the lock file that it makes beside the object survives a kill, and would bar
        the same object for ever after.
        """
        name = one.id.decode()
        path = self._path / "objects" / name[:2] / name[2:]
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        aside = self._path / "objects" / "tmp_obj_ratchet"  # git-gc(1) sweeps names that begin so
        write_fresh(aside, one.as_legacy_object(), 0o444)
        os.replace(aside, path)
        sync_folder(path.parent)

    def _swap(self, base: str | None, commit: bytes) -> bool:
        """Move the branch from `base` to `commit`; False when it is elsewhere. Atomic against every Git.

        The ref's lock is made as a hard link to a file of ours, complete from its first moment; so a lock that a kill
        left behind is told from another process's by its inode, and only ours is removed.
        """
        ref = self._path / self._ref.decode()
        lock = ref.with_name(ref.name + ".lock")
        ours = self._path / "ratchet-ref"
        if ours.exists() and lock.exists() and ours.samefile(lock):
            lock.unlink()
        write_fresh(ours, commit + b"\n")
        try:
            os.link(ours, lock)
        except FileExistsError:
            why = f"{lock} is held by another Git process; if none runs, remove it"
            raise Unreachable(self._name, why, retry_after=5.0) from None
        try:
            with self._open() as fresh:
                if self._head(fresh) != base:
                    return False
            os.replace(lock, ref)
            sync_folder(ref.parent)
        finally:
            lock.unlink(missing_ok=True)
            ours.unlink()
        return True


def _object(repo: Repo, name: bytes, kind: type[T]) -> T:
    one = repo.object_store[ObjectID(name)]
    if not isinstance(one, kind):
        raise ValueError(f"object {name.decode()} is not a {kind.__name__}")
    return one


def _commit(repo: Repo, name: str) -> Commit:
    return _object(repo, name.encode(), Commit)


def _tree(repo: Repo, name: bytes, prefix: str = "", depth: int = 8) -> Iterator[tuple[str, bytes]]:
    """Files below a tree, by path. Of other entries (links, submodules) and of what lies too deep, an empty mark."""
    for entry in _object(repo, name, Tree).iteritems():
        path = prefix + entry.path.decode("utf-8", "replace")
        if entry.mode == _FOLDER and depth:
            yield from _tree(repo, entry.sha, path + "/", depth - 1)
        elif entry.mode == _FILE:
            yield path, _object(repo, entry.sha, Blob).data
        else:
            yield f"{path} (mode {entry.mode:o})", b""


def _plant(files: Mapping[str, bytes], objects: list[ShaFile]) -> ObjectID:
    """The tree of these files; what it needs is added to `objects`, leaves first."""
    tree = Tree()
    folders: dict[str, dict[str, bytes]] = {}
    for path, data in sorted(files.items()):
        name, slash, rest = path.partition("/")
        if slash:
            folders.setdefault(name, {})[rest] = data
        else:
            blob = Blob.from_string(data)
            objects.append(blob)
            tree[name.encode()] = (_FILE, blob.id)
    for name, content in folders.items():
        tree[name.encode()] = (_FOLDER, _plant(content, objects))
    objects.append(tree)
    return tree.id


def _message(intent: Intent, chain: str | None) -> bytes:
    """A subject for people; the change as trailers (git-interpret-trailers(1)), always the last paragraph.

    `Ratchet-Head` is the newest link of the hash chain of the rounds when the commit was made (streams/chain.py).
    """
    last = f"Ratchet-Head: {chain}\n" if chain else ""
    subject = (
        " ".join("".join(c if c.isprintable() else " " for c in intent.reason).split())[:200] or "Change of policy"
    )
    return f"{subject}\n\nRatchet-Change: {intent.change}\nRatchet-Tenant: {intent.tenant}\n{last}".encode(
        "utf-8", "replace"
    )


def _trailers(commit: Commit) -> dict[str, str] | None:
    """The trailers of a commit in the form of ours; None for anybody else's."""
    if commit.author != AUTHOR or commit.committer != AUTHOR or len(commit.parents) > 1:
        return None
    lines = commit.message.decode("utf-8", "replace").rstrip("\n").rpartition("\n\n")[2].split("\n")
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    return found if {"Ratchet-Change", "Ratchet-Tenant"} <= found.keys() else None


def _summary(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[str, ...]:
    """One line for each file that a push adds, changes or removes."""
    return tuple(
        f"{'removes' if path not in after else 'changes' if path in before else 'adds'} {path}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )
