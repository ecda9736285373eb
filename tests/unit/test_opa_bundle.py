"""The bundle that OPA loads: equal bytes from equal content, signed, and believed only while it is what we wrote."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import os
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_stores import intent, pushed, somebody_commits

from ratchet.ports import Drifted, Plan, Receipt, Refused, Samples, Unreachable, Written
from streams.stores import local
from streams.stores.bundle import BadBundle, contents, opened, pack, unpack
from streams.stores.git import GitStore
from streams.stores.keys import BundleKey
from streams.stores.layout import KEYS, files_of, served
from streams.stores.opa import OpaStore, configure
from streams.stores.publish import app
from streams.stores.rego import Decision, Policy, RegoInProcess
from streams.stores.samples import OneKey

NOTHING = Samples((), ())


class World:
    """A data directory with both stores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git = GitStore(folder / "policy.git", RegoInProcess())
        self.key = BundleKey.kept_in(folder / "keys")
        self.path = folder / "bundles" / "ratchet.tar.gz"
        self.opa = OpaStore(self.git, self.path, self.key, RegoInProcess())

    def brought(self, change: str, snp: int, base: str | None) -> Written:
        """One change through Git to the bundle; returns what the bundle store wrote."""
        in_git = pushed(self.git, intent(change, snp), base)
        plan = self.opa.plan(intent(change, snp), base)
        assert isinstance(plan, Plan)
        done = self.opa.push(plan)
        assert isinstance(done, Written)
        assert done.revision == in_git.revision
        return done


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> BundleKey:
    return BundleKey.kept_in(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy("f" * 40, served(files_of(intent())))


# The format


def test_a_bundle_opens_to_what_was_packed(key: BundleKey, policy: Policy) -> None:
    packed = pack(contents(policy, key))
    assert opened(packed, key) == policy
    assert json.loads(unpack(packed)[".manifest"]) == {
        "revision": "f" * 40,
        "roots": ["ratchet", "ratchet_keys", "ratchet_policy"],
        "rego_version": 1,
    }


def test_equal_content_gives_equal_bytes(key: BundleKey, policy: Policy) -> None:
    shuffled = Policy(policy.revision, dict(reversed(policy.files.items())))
    assert pack(contents(policy, key)) == pack(contents(shuffled, key))


def test_the_entries_have_no_times_and_no_owners(key: BundleKey, policy: Policy) -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(contents(policy, key)))) as tar:
        for entry in tar:
            assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.mode) == (0, 0, 0, "", 0o644)


def test_another_key_is_not_ours(key: BundleKey, policy: Policy, tmp_path: Path) -> None:
    other = BundleKey.kept_in(tmp_path)
    with pytest.raises(BadBundle, match="signed by a key"):
        opened(pack(contents(policy, other)), key)


def test_a_signature_by_somebody_who_uses_our_keys_name_is_not_ours(
    key: BundleKey, policy: Policy, tmp_path: Path
) -> None:
    forger = BundleKey.kept_in(tmp_path)
    forger.id = key.id
    with pytest.raises(BadBundle, match="not that of its content"):
        opened(pack(contents(policy, forger)), key)


@pytest.mark.parametrize("path", [".manifest", "ratchet/decision.rego", "ratchet_policy/data.json"])
def test_a_file_changed_after_signing_is_named(key: BundleKey, policy: Policy, path: str) -> None:
    files = contents(policy, key)
    files[path] = files[path].replace(b"snp", b"tdx").replace(b"ffff", b"eeee").replace(b"allow", b"avoid")
    with pytest.raises(BadBundle, match=f"changed since it was signed: {path}"):
        opened(pack(files), key)


def test_files_added_or_taken_away_are_noticed(key: BundleKey, policy: Policy) -> None:
    files = contents(policy, key)
    with pytest.raises(BadBundle, match="extra"):
        opened(pack({**files, "ratchet/extra.rego": b"package ratchet\nallow := true\n"}), key)
    with pytest.raises(BadBundle, match=r"data\.json"):
        opened(pack({p: d for p, d in files.items() if not p.endswith("data.json")}), key)


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"alg": "none", "kid": "KEY"}, {"alg": "HS256", "kid": "KEY"}, {"alg": "ES256"}]
)
def test_no_other_algorithm_is_taken(key: BundleKey, policy: Policy, header: dict[str, str]) -> None:
    files = contents(policy, key)
    token = json.loads(files[".signatures.json"])["signatures"][0].split(".")
    from ratchet.ear import base64url

    token[0] = base64url(json.dumps({k: v.replace("KEY", key.id) for k, v in header.items()}).encode())
    files[".signatures.json"] = json.dumps({"signatures": [".".join(token)]}).encode()
    with pytest.raises(BadBundle):
        opened(pack(files), key)


@pytest.mark.parametrize("tokens", [[], ["a.b.c", "a.b.c"], ["a.b"], "a.b.c", [1], ["..."], None])
def test_exactly_one_signature_is_expected(key: BundleKey, policy: Policy, tokens: Any) -> None:
    files = contents(policy, key) | {".signatures.json": json.dumps({"signatures": tokens}).encode()}
    with pytest.raises(BadBundle):
        opened(pack(files), key)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_a_bundle_opens_to_something_else(key: BundleKey, policy: Policy, data: st.DataObject) -> None:
    packed = bytearray(pack(contents(policy, key)))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(packed[: data.draw(st.sampled_from([len(packed), len(packed) // 2]))])
    with contextlib.suppress(BadBundle):
        assert opened(cut, key) == policy


def test_a_bundle_that_unpacks_without_end_is_not_unpacked(key: BundleKey) -> None:
    with pytest.raises(BadBundle, match="unpacked"):
        opened(gzip.compress(b"\0" * (80 << 20)), key)


def test_links_in_a_bundle_are_not_followed(key: BundleKey) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w:gz") as tar:
        link = tarfile.TarInfo("ratchet/decision.rego")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BadBundle, match="not a plain file"):
        opened(plain.getvalue(), key)


# The key


def test_the_private_key_is_its_owners_alone_and_is_kept(tmp_path: Path) -> None:
    first = BundleKey.kept_in(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "keys" / "bundle.pem").stat().st_mode & 0o777 == 0o600
    assert BundleKey.kept_in(tmp_path / "keys").id == first.id
    assert sorted(os.listdir(tmp_path / "keys")) == ["bundle.pem", "bundle.pub.pem"]


def test_a_key_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    BundleKey.kept_in(tmp_path)
    (tmp_path / "bundle.pem").chmod(0o644)
    with pytest.raises(Unreachable, match="chmod 600"):
        BundleKey.kept_in(tmp_path)


def test_what_is_no_key_is_said(tmp_path: Path) -> None:
    (tmp_path / "bundle.pem").write_text("no key")
    (tmp_path / "bundle.pem").chmod(0o600)
    with pytest.raises(Unreachable):
        BundleKey.kept_in(tmp_path)


# The store


def test_a_change_is_served_under_the_id_of_its_commit(world: World) -> None:
    done = world.brought("c1", 24, None)
    served, committed = opened(world.path.read_bytes(), world.key), world.git.policy(done.revision, "default")
    assert served.revision == committed.revision
    assert {path: data for path, data in served.files.items() if path != KEYS} == committed.files
    receipt = world.opa.prove(done, NOTHING)
    assert isinstance(receipt, Receipt)
    assert receipt.revision == done.revision
    assert world.opa.check(done.revision) is None


def test_an_opa_configuration_lies_beside_it(world: World) -> None:
    world.brought("c1", 24, None)
    settings_ = json.loads((world.path.parent / "opa.json").read_text())
    assert settings_["bundles"]["ratchet"]["signing"] == {"keyid": world.key.id}
    assert settings_["keys"][world.key.id]["key"] == (world.folder / "keys" / "bundle.pub.pem").read_text()


def test_the_configuration_is_there_before_the_first_bundle(world: World) -> None:
    # so that an OPA can start, and admits nothing, until somebody approves the first floor
    configure(world.path.parent, world.key)
    configure(world.path.parent, world.key)
    early = (world.path.parent / "opa.json").read_bytes()
    assert not world.path.exists()
    world.brought("c1", 24, None)
    assert (world.path.parent / "opa.json").read_bytes() == early


def test_what_git_does_not_hold_is_not_served(world: World) -> None:
    with pytest.raises(Refused, match="does not hold this change"):
        world.opa.plan(intent(), None)


def test_one_bundle_serves_one_tenant(world: World) -> None:
    with pytest.raises(Refused, match="tenant"):
        world.opa.plan(intent(tenant="other"), None)


def test_a_repeat_after_a_crash_is_recognised(world: World) -> None:
    done = world.brought("c1", 24, None)
    before = world.path.read_bytes()
    assert world.opa.plan(intent(), None) == done
    assert world.path.read_bytes() == before


def test_a_push_repeated_in_another_directory_gives_the_same_bytes(tmp_path: Path) -> None:
    here, there = World(tmp_path / "a"), World(tmp_path / "b")
    there.opa = OpaStore(there.git, there.path, here.key, RegoInProcess())
    here.brought("c1", 24, None)
    there.brought("c1", 24, None)
    assert here.path.read_bytes() == there.path.read_bytes()
    assert here.opa.dump() == there.opa.dump()


def test_changes_lost_in_one_crash_are_recognised_and_proved_in_turn(world: World) -> None:
    first = world.brought("c1", 24, None)
    second = world.brought("c2", 25, first.revision)
    again = world.opa.plan(intent("c1", 24), None)
    assert again == first
    stale = {"family": "snp/Milan", "tee": "snp", "measurement": "aa", "debug": False, "genuine": True, "bits": {}}
    receipt = world.opa.prove(
        first, Samples((stale | {"tcb": {"reported.snp": 23}},), (stale | {"tcb": {"reported.snp": 24}},))
    )
    assert isinstance(receipt, Receipt)
    assert receipt.revision == first.revision
    assert world.opa.plan(intent("c2", 25), first.revision) == second


def test_an_earlier_change_cannot_take_the_place_of_a_later_one(world: World) -> None:
    first = world.brought("c1", 24, None)
    second = world.brought("c2", 25, first.revision)
    with pytest.raises(Refused, match="later change"):
        world.opa.plan(intent("c1", 24), second.revision)


def test_a_bundle_put_there_by_somebody_else_is_drift_and_stays(world: World, tmp_path: Path) -> None:
    done = world.brought("c1", 24, None)
    lax = contents(replace(world.git.policy(done.revision, "default")), BundleKey.kept_in(tmp_path / "other"))
    world.path.write_bytes(pack(lax))
    foreign = world.path.read_bytes()
    assert isinstance(world.opa.check(done.revision), Drifted)
    assert isinstance(world.opa.prove(done, NOTHING), Drifted)
    pushed(world.git, intent("c2", 25), done.revision)
    assert isinstance(world.opa.plan(intent("c2", 25), done.revision), Drifted)
    assert world.path.read_bytes() == foreign


def test_a_bundle_that_is_gone_or_older_is_drift(world: World) -> None:
    first = world.brought("c1", 24, None)
    old = world.path.read_bytes()
    assert world.opa.check(first.revision) is None
    second = world.brought("c2", 25, first.revision)
    ours = world.path.read_bytes()
    assert world.opa.check(second.revision) is None  # remembered, and yet every later look is at the file itself
    world.path.write_bytes(ours[:-1])
    assert isinstance(world.opa.check(second.revision), Drifted)
    world.path.write_bytes(ours)
    assert world.opa.check(second.revision) is None
    world.path.write_bytes(old)  # signed by us, and yet not what is in force
    drift = world.opa.check(second.revision)
    assert isinstance(drift, Drifted)
    assert (drift.expected, drift.found) == (second.revision, first.revision)
    assert isinstance(world.opa.prove(second, NOTHING), Drifted)
    pushed(world.git, intent("c3", 26), second.revision)
    assert isinstance(world.opa.plan(intent("c3", 26), second.revision), Drifted)
    world.path.unlink()
    assert isinstance(world.opa.check(second.revision), Drifted)
    assert isinstance(world.opa.plan(intent("c3", 26), second.revision), Drifted)


def test_the_swap_compares(world: World) -> None:
    first = world.brought("c1", 24, None)
    pushed(world.git, intent("c2", 25), first.revision)
    plan = world.opa.plan(intent("c2", 25), first.revision)
    assert isinstance(plan, Plan)
    world.path.unlink()
    assert isinstance(world.opa.push(plan), Drifted)
    assert not world.path.exists()


def test_a_foreign_commit_does_not_reach_the_bundle(world: World) -> None:
    first = world.brought("c1", 24, None)
    somebody_commits(world.folder / "policy.git")
    with pytest.raises(Refused):
        world.opa.plan(intent("c2", 25), first.revision)
    assert world.opa.check(first.revision) is None


class Serving:
    """An OPA that serves a revision of its own."""

    def __init__(self, revision: str | None) -> None:
        self._revision = revision

    def decide(self, policy: Policy, inputs: Any, at: Any) -> tuple[Decision, ...]:
        if policy.revision != self._revision:
            raise Unreachable("opa", "not yet")
        return RegoInProcess().decide(policy, inputs, at)

    def revision(self) -> str | None:
        return self._revision


def test_an_older_bundle_that_was_put_back_gets_no_new_keys(world: World) -> None:
    """With today's keys the floors of yesterday would let today's tokens in, until somebody looks at the drift."""
    signing = [OneKey()]
    world.opa = OpaStore(
        world.git, world.path, world.key, RegoInProcess(), keys=lambda: signing[0].jwks(datetime.now(UTC))
    )
    first = world.brought("c1", 24, None)
    old = world.path.read_bytes()
    second = world.brought("c2", 25, first.revision)
    signing[0] = OneKey()
    world.opa.refresh(second.revision)
    assert world.path.read_bytes() != old
    assert world.opa.check(second.revision) is None
    world.path.write_bytes(old)
    world.opa.refresh(second.revision)
    assert world.path.read_bytes() == old
    assert isinstance(world.opa.check(second.revision), Drifted)


def test_an_opa_that_serves_something_else_is_drift(world: World) -> None:
    done = world.brought("c1", 24, None)
    behind = OpaStore(world.git, world.path, world.key, Serving("0" * 40))
    with pytest.raises(Unreachable):
        behind.prove(done, NOTHING)
    drift = behind.check(done.revision)
    assert isinstance(drift, Drifted)
    assert drift.found == "0" * 40
    level = OpaStore(world.git, world.path, world.key, Serving(done.revision))
    assert isinstance(level.prove(done, NOTHING), Receipt)
    assert level.check(done.revision) is None


def test_the_stores_of_a_data_directory_come_git_first(tmp_path: Path) -> None:
    git, opa = local(tmp_path)
    assert (git.name, git.built_from, opa.name, opa.built_from) == ("git", None, "opa", "git")
    with pytest.raises(ValueError, match="unencrypted"):
        local(tmp_path, opa_url="http://opa.example.com:8181", opa_token="secret")


# Over HTTP


def test_opa_fetches_the_bundle_with_its_token_and_only_when_it_changed(world: World) -> None:
    def get(path: str, headers: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app(world.path, "t0ken"))
            async with httpx.AsyncClient(transport=transport, base_url="http://opa") as client:
                return await client.get(path, headers=headers)

        return asyncio.run(asked())

    mine = {"authorization": "Bearer t0ken"}
    assert get("/ratchet.tar.gz", mine).status_code == 404
    world.brought("c1", 24, None)
    for sent in (b"", b"Bearer other", b"Basic t0ken", b"Bearer", b"Bearer \xff"):
        headers = {b"authorization": sent}
        assert get("/ratchet.tar.gz", headers).status_code == 401
    first = get("/ratchet.tar.gz", mine)
    assert opened(first.content, world.key).revision == world.git.dump()["head"]
    again = get("/ratchet.tar.gz", mine | {"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert get("/../keys/bundle.pem", mine).status_code == 404
