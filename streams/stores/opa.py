"""An OPA bundle as a policy store: built from the commit that holds the change, signed, put in place in one step.

The bundle's revision is the commit's id, so that whoever asks an OPA what it serves can look it up in Git. The store
holds what it was given only if the file opens with our key and its content is that of the commit, file by file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ratchet.event import Json, digest
from ratchet.ports import Drifted, Intent, Plan, Receipt, Refused, Samples, Unreachable, Written
from streams.stores.bundle import MAX_PACKED, BadBundle, configuration, contents, opened, pack
from streams.stores.durable import held, replace
from streams.stores.git import GitStore
from streams.stores.keys import BundleKey
from streams.stores.layout import KEYS
from streams.stores.rego import Policy, Prover, RegoInProcess, prove
from streams.stores.samples import keys_file


def configure(folder: Path, key: BundleKey) -> None:
    """Write `opa.json` into the bundle's folder: with it an OPA follows the bundle and takes no other key's.

    Done before there is a first bundle, too: until then an OPA that starts with it decides nothing, which every caller
    takes for a refusal.

    Raises:
        Unreachable: it cannot be written.
    """
    path = folder / "opa.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / (path.name + ".lock")):
            settings = configuration(key, key.public_pem())
            if not path.exists() or path.read_bytes() != settings:
                replace(path, settings)
    except OSError as why:
        raise Unreachable(str(path), str(why)) from why


class OpaStore:
    """The bundle file of one tenant.

    Args:
        git: the repository that the bundle is built from; it comes before this store.
        path: of the bundle; `opa.json` beside it configures an OPA that follows it.
        key: signs it.
        prover: decides samples: in process, or an OPA server that serves this bundle.
        tenant: whose policy; one bundle serves one.
        name: among the stores.
        keys: the JWKS of the tokens that are to be believed now; they go into the bundle, beside the commit's files.
    """

    def __init__(
        self,
        git: GitStore,
        path: Path,
        key: BundleKey,
        prover: Prover,
        *,
        tenant: str = "default",
        name: str = "opa",
        keys: Callable[[], Mapping[str, Json]] = lambda: {"keys": []},
    ) -> None:
        self._keys = keys
        self._git, self._path, self._key, self._prover = git, path, key, prover
        self._tenant, self._name = tenant, name
        # What `check` last found equal to its commit: the file's bytes, and the revision they were expected to have.
        self._sound: tuple[bytes | None, str | None] | None = None
        # What `refresh` last found to agree: the file's bytes, and the keys in it.
        self._published: tuple[bytes, bytes] | None = None

    @property
    def name(self) -> str:
        """Unique among the configured stores."""
        return self._name

    @property
    def built_from(self) -> str | None:
        """The Git store: the bundle is built from its commits."""
        return self._git.name

    def plan(self, want: Intent, expected: str | None) -> Plan | Written | Drifted:
        """What a push would serve. See `ratchet.ports.PolicyStore.plan`.

        Raises:
            Refused: Git does not hold the change, or a later one is served already; or it is another tenant's.
        """
        target = self._commit_of(want)
        current = self._current(want.change, expected)
        if isinstance(current, Drifted):
            return current
        if current is not None and self._git.follows(current, target):
            if expected is not None and expected != target and self._git.follows(expected, target):
                raise Refused(f"a later change is served already, of commit {expected}")
            return Written(self._name, want, expected, target)
        if current != expected:
            return self._drift(want.change, expected, current)
        return Plan(self._name, current, want, (f"serves commit {target}",))

    def push(self, plan: Plan) -> Written | Drifted:
        """Build, sign and replace the file, if it still is the bundle that was planned on."""
        target = self._commit_of(plan.intent)
        files = self._contents(target)
        with self._writing():
            current = self._current(plan.intent.change, plan.base)
            if isinstance(current, Drifted):
                return current
            if current != plan.base:
                return self._drift(plan.intent.change, plan.base, current)
            replace(self._path, pack(files))
            configure(self._path.parent, self._key)
        return Written(self._name, plan.intent, plan.base, target)

    def refresh(self, expected: str | None) -> None:
        """Put the keys that are to be believed now into the bundle, where it has others.

        A bundle that is not ours, or an older one that was put back, is left as it is, with the keys that it has:
        `check` says so.
        """
        with self._writing():
            packed, keys = self._packed(), keys_file(self._keys())
            if packed is None or (packed, keys) == self._published:
                return
            try:
                found = opened(packed, self._key)
            except BadBundle:
                return
            if found.revision != expected:
                return
            if found.files.get(KEYS) == keys:
                self._published = (packed, keys)
                return
            replace(self._path, pack(self._contents(found.revision)))

    def _contents(self, commit: str) -> dict[str, bytes]:
        policy = self._git.policy(commit, self._tenant)
        return contents(Policy(policy.revision, {**policy.files, KEYS: keys_file(self._keys())}), self._key)

    def prove(self, done: Written, samples: Samples) -> Receipt | Drifted:
        """Read the file back, compare it with the commit, then let the prover decide the samples.

        A change that a later one of ours has overtaken (a crash came before its receipt) is proved in process on the
        bundle that was served then, which follows from its commit.
        """
        change = done.intent.change
        wanted = self._git.policy(done.revision, self._tenant)
        try:
            found = self._read()
        except BadBundle as why:
            return Drifted(self._name, change, done.revision, None, str(why))
        if found is not None and found.revision != done.revision and self._git.follows(found.revision, done.revision):
            return prove(self._name, RegoInProcess(), wanted, done, samples)
        if found is None or found.revision != done.revision:
            return self._drift(change, done.revision, found.revision if found else None)
        if found != wanted:
            return Drifted(self._name, change, done.revision, None, "the bundle is not what its commit holds")
        return prove(self._name, self._prover, found, done, samples)

    def check(self, expected: str | None) -> Drifted | None:
        """Is the bundle, and what the prover serves of it, what we left there?

        Read from disk each time, but compared with its commit only where its bytes are not those that were last found
        equal to it: a commit's content follows from its id. That comparison cost a fifth of the pipeline's time.
        """
        packed = self._packed()
        if (packed, expected) != self._sound:
            drift = self._compare(packed, expected)
            if drift is not None:
                return drift
            self._sound = (packed, expected)
        served = self._prover.revision()
        if expected is not None and served is not None and served != expected:
            return Drifted(self._name, None, expected, served, "OPA serves another revision than the bundle's")
        return None

    def _compare(self, packed: bytes | None, expected: str | None) -> Drifted | None:
        try:
            found = _committed(opened(packed, self._key)) if packed is not None else None
        except BadBundle as why:
            return Drifted(self._name, None, expected, None, str(why))
        revision = found.revision if found else None
        if revision != expected:
            return self._drift(None, expected, revision)
        if found is not None and found != self._git.policy(found.revision, self._tenant):
            return Drifted(self._name, None, expected, None, "the bundle is not what its commit holds")
        return None

    def dump(self) -> dict[str, Json]:
        """The bundle as JSON: its revision and files by hash, for comparing two. Not the signature: keys differ.

        Raises:
            Unreachable, BadBundle: it cannot be read.
        """
        found = self._read()
        if found is None:
            return {"revision": None, "files": {}}
        return {"revision": found.revision, "files": {path: digest(data) for path, data in sorted(found.files.items())}}

    def _commit_of(self, want: Intent) -> str:
        if want.tenant != self._tenant:
            raise Refused(f"this bundle serves tenant {self._tenant!r}, not {want.tenant!r}")
        found = self._git.committed(want.change, self._tenant)
        if found is None:
            raise Refused(f"store {self._git.name!r} does not hold this change")
        return found.commit

    def _current(self, change: str, expected: str | None) -> str | Drifted | None:
        """The revision in place; a file that is not ours is drift."""
        try:
            found = self._read()
        except BadBundle as why:
            return Drifted(self._name, change, expected, None, str(why))
        return found.revision if found else None

    def _read(self) -> Policy | None:
        """The bundle as it is on disk; None where there is none.

        Raises:
            BadBundle: it is not one that we signed.
        """
        packed = self._packed()
        return _committed(opened(packed, self._key)) if packed is not None else None

    def _packed(self) -> bytes | None:
        """The file, no further than a bundle may be long; None where there is none."""
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_PACKED + 1)
        except FileNotFoundError:
            return None
        except OSError as why:
            raise Unreachable(self._name, f"{self._path}: {why}") from why

    def _drift(self, change: str | None, expected: str | None, found: str | None) -> Drifted:
        detail = "the bundle is gone" if found is None else "the bundle was replaced by another of ours"
        return Drifted(self._name, change, expected, found, detail)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with held(self._path.with_name(self._path.name + ".lock")):
                yield
        except OSError as why:
            raise Unreachable(self._name, f"{self._path}: {why}") from why


def _committed(policy: Policy) -> Policy:
    """What of a bundle is of its commit: all but the keys."""
    return Policy(policy.revision, {path: data for path, data in policy.files.items() if path != KEYS})
