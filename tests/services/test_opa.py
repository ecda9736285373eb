"""A real OPA: it takes the policy, the bundle and its signature, and decides as the core does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from policy_stores import AT, intent, pushed
from rego_claims import REVIEWED, seen, wanted, worlds
from tokens import AUDIENCE, ISSUER, NOW, SECONDS, Keys

from ratchet.event import Event, derived_id
from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.ports import Drifted, Intent, Plan, Receipt, Record, Samples, Unreachable, Written
from streams.push import Push
from streams.stores.bundle import contents, pack
from streams.stores.ear_keys import EarKeys
from streams.stores.git import GitStore
from streams.stores.keys import BundleKey
from streams.stores.layout import DATA, files_of, served
from streams.stores.opa import OpaStore
from streams.stores.opa_server import OpaServer
from streams.stores.publish import app
from streams.stores.rego import RegoInProcess, decision_of
from streams.stores.samples import FAULTS, OneKey, keys_file, question
from streams.stores.wasm import decode_verify

POLICY = Path(__file__).parents[2] / "streams" / "stores" / "decision.rego"
TOKEN, BUNDLE_TOKEN = "a-token-of-this-test", "another"
AUTHZ = f"""package system.authz

default allow := false

allow if input.identity == "{TOKEN}"
"""
SHIPPED = (Path(__file__).parents[2] / "docker" / "authz.rego").read_text()
PATIENCE = 30.0
"""Seconds that a server may take on a busy machine."""


T = TypeVar("T")


def until(asked: Callable[[], T | None], what: str) -> T:
    """Ask until there is an answer."""
    pause, end = threading.Event(), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (answer := asked()) is not None:
            return answer
        pause.wait(0.05)
    pytest.fail(f"{what}: not within {PATIENCE} s")


@contextmanager
def running(opa: str, folder: Path, *arguments: str, authz: str = AUTHZ, **environment: str) -> Iterator[str]:
    """An OPA server on a port of its own choice; its address."""
    log = folder / "opa.log"
    (folder / "authz.rego").write_text(authz)
    command = [opa, "run", "--server", "--addr", "127.0.0.1:0", "--authentication=token", "--authorization=basic"]
    command += ["--disable-telemetry", *arguments, str(folder / "authz.rego")]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | environment) as server,
    ):
        try:
            yield until(lambda: _address(log, server), "OPA starts")
        finally:
            server.terminate()


def _address(log: Path, server: subprocess.Popen[bytes]) -> str | None:
    assert server.poll() is None, log.read_text()
    found = _port_of(server.pid)
    return f"http://127.0.0.1:{found}" if found else None


def _port_of(pid: int) -> int | None:
    """The port that a process listens on: its sockets (proc(5), fd) among the listening ones (net/tcp, state 0A)."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(handle.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return int(fields[1].partition(":")[2], 16)
    return None


class World:
    """A data directory whose bundle a real OPA serves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "bundles" / "ratchet.tar.gz"
        self.git = GitStore(folder / "policy.git", RegoInProcess())
        self.key, self.ear = BundleKey.kept_in(folder / "keys"), EarKeys(folder / "keys" / "ear")

    def jwks(self) -> Mapping[str, Any]:
        return self.ear.jwks(datetime.now(UTC))

    def question(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """What a relying party would ask about such a machine now."""
        files = self.git.policy(self.git.dump()["head"], "default").files
        return question(sample, files, self.ear, datetime.now(UTC))

    def store(self, url: str, token: str = TOKEN) -> OpaStore:
        return OpaStore(self.git, self.path, self.key, OpaServer(url, token=token, minter=self.ear), keys=self.jwks)

    def brought(self, want: Intent, base: str | None) -> Written:
        """A change through Git to the bundle file."""
        pushed(self.git, want, base)
        store = OpaStore(self.git, self.path, self.key, RegoInProcess(), keys=self.jwks)
        plan = store.plan(want, base)
        assert isinstance(plan, Plan)
        done = store.push(plan)
        assert isinstance(done, Written)
        return done

    @contextmanager
    def served(self, opa: str) -> Iterator[str]:
        """The bundle over HTTP, and an OPA that follows it; the OPA's address."""
        server = uvicorn.Server(uvicorn.Config(app(self.path, BUNDLE_TOKEN), port=0, log_level="error", lifespan="off"))
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            try:
                bundles = {
                    "RATCHET_BUNDLES": f"http://127.0.0.1:{listening.getsockname()[1]}",
                    "RATCHET_BUNDLES_TOKEN": BUNDLE_TOKEN,
                }
                with running(opa, self.folder, "-c", self._configuration(), **bundles) as url:
                    yield url
            finally:
                server.should_exit = True
                thread.join()

    def _configuration(self) -> str:
        """The one that lies beside the bundle; OPA only asks more often than in production."""
        settings_ = json.loads((self.path.parent / "opa.json").read_text())
        settings_["bundles"]["ratchet"]["polling"] = {"min_delay_seconds": 1, "max_delay_seconds": 1}
        path = self.folder / "opa.json"
        path.write_text(json.dumps(settings_))
        return str(path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def asked(snp: int, **changed: Any) -> dict[str, Any]:
    good = {"family": "snp/Milan", "tee": "snp", "debug": False, "genuine": True, "bits": {}}
    return good | {"tcb": {"reported.snp": snp}} | changed


SAMPLES = Samples(
    refuse=(asked(23), asked(24, debug=True), asked(24, status="warning"), asked(24, genuine=False)), admit=(asked(24),)
)


def receipt(store: OpaStore, done: Written) -> Receipt | Drifted:
    """Prove, once OPA has loaded what it was given."""

    def proved() -> Receipt | Drifted | None:
        try:
            return store.prove(done, SAMPLES)
        except Unreachable:
            return None

    return until(proved, "OPA serves the bundle")


def test_the_compiled_policy_that_ships_is_what_this_opa_compiles(opa: str, tmp_path: Path) -> None:
    """Else `scripts/build-policy` was forgotten after a change."""
    made = tmp_path / "policy.wasm"
    script = Path(__file__).parents[2] / "scripts" / "build-policy"
    subprocess.run([str(script), str(made)], check=True, env=os.environ | {"RATCHET_OPA": opa})
    assert made.read_bytes() == POLICY.with_suffix(".wasm").read_bytes()


def test_tokens_are_verified_in_process_as_by_opa(opa: str, tmp_path: Path) -> None:
    """What OPA leaves to its host when a policy is compiled, held against what OPA does itself."""
    keys = Keys()
    good = [
        ("good", keys.token(), keys.constraints()),
        ("two audiences", keys.token(aud=["else", AUDIENCE]), keys.constraints()),
        ("a kid that nobody knows", keys.signed({"alg": "ES256", "kid": "?"}, {"iss": ISSUER, "aud": AUDIENCE}), None),
        ("a fraction of a second", keys.token(exp=SECONDS + 0.5, nbf=SECONDS - 0.5), keys.constraints()),
    ]
    asked = [*good, *[(case.name, case.token, case.constraints) for case in keys.bad()]]
    with running(opa, tmp_path) as url:
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False)
        rule = "package t\nanswer := io.jwt.decode_verify(input.token, input.constraints)\n"
        assert client.put("/v1/policies/t", content=rule).status_code == 200
        for name, token, constraints in asked:
            constraints = constraints or keys.constraints()
            body = {"input": {"token": token, "constraints": constraints}}
            theirs = client.post("/v1/data/t/answer", json=body).json().get("result")
            assert decode_verify(token, constraints, NOW) == theirs, name


def test_the_policy_is_formatted_and_passes_the_strict_check(opa: str) -> None:
    for arguments in (["fmt", "--fail", "--list"], ["check", "--strict"]):
        done = subprocess.run([opa, *arguments, str(POLICY)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), arguments


def test_a_receipt_is_what_a_running_opa_decides_on_the_commits_bundle(opa: str, world: World) -> None:
    # given a floor whose provenance holds what JSON writers write in different ways
    floor = AmdFloor(family="snp/Milan", minima=(Minimum(tcb={"reported.snp": 24}),), provenance=REVIEWED)
    done = world.brought(intent(floors={"snp/Milan": floor.to_data()}), None)
    with world.served(opa) as url:
        proved = receipt(world.store(url), done)
        assert isinstance(proved, Receipt), proved
        assert proved.revision == done.revision
        assert (proved.refused, proved.admitted) == (4 + 4 + len(FAULTS), 1)
        assert OpaServer(url, token=TOKEN, minter=world.ear).revision() == done.revision
        assert world.store(url).check(done.revision) is None
        # and a sample on the wrong side is no receipt
        wrong = world.store(url).prove(done, Samples(refuse=(asked(24),), admit=()))
        assert isinstance(wrong, Drifted)
        assert "must be refused and passed" in wrong.detail


@pytest.mark.parametrize("how", ["unsigned", "signed by another", "changed after signing", "signed without key id"])
def test_opa_takes_no_bundle_but_ours_and_the_old_one_stays(opa: str, world: World, tmp_path: Path, how: str) -> None:
    first = world.brought(intent(), None)
    with world.served(opa) as url:
        assert isinstance(receipt(world.store(url), first), Receipt)
        # when somebody lowers the floor in a bundle of a later revision
        pushed(world.git, lax := intent("c2", 1), first.revision)
        head = world.git.dump()["head"]
        policy = world.git.policy(head, "default")
        files = contents(policy, BundleKey.kept_in(tmp_path / "other") if how == "signed by another" else world.key)
        if how == "unsigned":
            del files[".signatures.json"]
        if how == "changed after signing":
            data = files["ratchet_policy/data.json"]
            files["ratchet_policy/data.json"] = data.replace(b'"reported.snp": 1', b'"reported.snp": 0')
        if how == "signed without key id":
            files[".signatures.json"] = b'{"signatures":["e30.e30.e30"]}'
        world.path.write_bytes(pack(files))
        # then OPA says that it does not take it, and decides as before
        until(lambda: _complaint(url), "OPA complains")
        assert OpaServer(url, token=TOKEN, minter=world.ear).revision() == first.revision
        assert not _decision(url, world.question(asked(1)))["allow"]
        # and the store calls it drift
        assert isinstance(world.store(url).check(first.revision), Drifted)
        assert isinstance(world.store(url).plan(lax, first.revision), Drifted)


def _complaint(url: str) -> str | None:
    answer = httpx.get(f"{url}/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    message = answer["result"]["bundles"]["ratchet"].get("message")
    return str(message) if message else None


def _decision(url: str, ask: Mapping[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.post(f"{url}/v1/data/ratchet/decision", json={"input": ask}, headers=headers).json()["result"]


def test_a_token_that_is_not_taken_makes_opa_unreachable_and_is_not_shown(opa: str, world: World) -> None:
    done = world.brought(intent(), None)
    with world.served(opa) as url:
        assert isinstance(receipt(world.store(url), done), Receipt)
        for token in ("", "not-the-token"):
            with pytest.raises(Unreachable, match="401") as away:
                world.store(url, token).prove(done, SAMPLES)
            assert not token or token not in str(away.value)


def test_an_opa_that_is_down_is_unreachable(world: World) -> None:
    done = world.brought(intent(), None)
    with pytest.raises(Unreachable, match="ConnectError"):
        world.store("http://127.0.0.1:9").prove(done, SAMPLES)


class Memory(dict[str, Any]):
    """State of one stage."""

    put, delete = dict.__setitem__, lambda self, key: self.pop(key, None)

    def scan(self, prefix: str) -> Iterator[tuple[str, Any]]:
        yield from sorted((key, value) for key, value in self.items() if key.startswith(prefix))


def test_push_brings_changes_to_a_running_opa_and_waits_until_it_serves_them(opa: str, world: World) -> None:
    first = world.brought(intent(), None)
    state = Memory()
    for name in ("git", "opa"):
        state[f"store/{name}"] = {
            "revision": first.revision,
            "change": "c1",
            "at": None,
            "tenant": "default",
            "drift": None,
        }
    with world.served(opa) as url:
        push = Push([world.git, world.store(url)])
        assert isinstance(receipt(world.store(url), first), Receipt)
        out = push.step([Record(n, "changes", _due(name)) for n, name in enumerate(("git", "opa"))], state, AT)
        minutes = iter(range(1, 100_000))

        def confirmed() -> bool | None:
            at = AT + next(minutes) * timedelta(minutes=1)
            tick = Event(derived_id("tick", str(at)), "/clock", "clock.ticked.v1", "0", at, "default", {})
            out.extend(push.step([Record(9, "ticks", tick)], state, at))
            return True if [e.data["outcome"] for _, e in out].count("confirmed") == 2 else None

        until(confirmed, "both receipts")
        revision = out[0][1].data["revision"]
        assert OpaServer(url, token=TOKEN, minter=world.ear).revision() == revision == state["store/opa"]["revision"]
        assert not _decision(url, world.question(asked(24)))["allow"]
        assert _decision(url, world.question(asked(25)))["allow"]


def _due(store: str) -> Event:
    want = intent("c2", 25)
    data = {
        "change": "c2",
        "proposal": "p2",
        "store": store,
        "intent": {"policy": dict(want.policy), "floors": want.floors},
        "approvals": [],
        "samples": {"refuse": [asked(24)], "pass": [asked(25)]},
    }
    return Event(derived_id("due", store), "/streams/roll-out", "change.due.v1", store, AT, "default", data)


@pytest.fixture(scope="module")
def bare(opa: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An OPA that holds the policy, and whatever data it is given."""
    folder = tmp_path_factory.mktemp("bare")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with running(opa, folder, str(POLICY)) as url, httpx.Client(base_url=url, headers=headers) as client:
        yield client


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds())
def test_opa_decides_as_the_core_does(bare: httpx.Client, world: tuple[Intent, list[dict[str, Any]]]) -> None:
    held, questions = world
    files, minter = served(files_of(held)), OneKey()
    now = datetime.now(UTC)
    assert bare.put("/v1/data/ratchet_policy", content=files[DATA]).status_code == 204
    assert bare.put("/v1/data/ratchet_keys", content=keys_file(minter.jwks(now))).status_code == 204
    for ask in questions:
        answer = bare.post("/v1/data/ratchet/decision", json={"input": question(ask, files, minter, now)})
        decision, why = decision_of(answer.json().get("result")), wanted(held, ask)
        assert decision.allow is (not why), ask
        assert seen(decision.reasons, ask) == why, ask


def test_the_token_of_the_compose_file_opens_decisions_and_status_and_nothing_else(opa: str, tmp_path: Path) -> None:
    """Whoever may ask for decisions could otherwise also write policy, or read the configuration with its tokens."""
    with (
        running(opa, tmp_path, authz=SHIPPED, OPA_TOKEN=TOKEN) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        token = {"Authorization": f"Bearer {TOKEN}"}
        asked = {"input": {}}
        assert client.get("/health").status_code == 200
        assert client.post("/v1/data/ratchet/decision", json=asked, headers=token).status_code == 200
        for headers in ({}, {"Authorization": "Bearer another"}):
            assert client.post("/v1/data/ratchet/decision", json=asked, headers=headers).status_code == 401
        for method, path in (
            ("PUT", "/v1/policies/mine"),
            ("PUT", "/v1/data/ratchet/decision"),
            ("PATCH", "/v1/data/ratchet/decision"),
            ("DELETE", "/v1/data/ratchet/decision"),
            ("GET", "/v1/policies"),
            ("GET", "/v1/data"),
            ("GET", "/v1/config"),
            ("POST", "/v1/query"),
            ("POST", "/v1/data/system"),
            ("POST", "/v1/compile"),
        ):
            assert client.request(method, path, json={}, headers=token).status_code == 401, (method, path)
