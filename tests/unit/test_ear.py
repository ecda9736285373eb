"""Relying parties: a nonce in, a signed result out, that nobody else can use, and nobody later."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from snp_world import NOW
from snp_world import World as Vendor

from collectors.delivery import accept_document
from collectors.http import EvidenceAPI, Sender
from ratchet import ear
from ratchet.app.composition import configured_policy
from ratchet.app.home import Home
from ratchet.app.relying import RelyingParties
from ratchet.event import Event, canonical, digest
from ratchet.evidence import Evidence
from ratchet.policy.floor import AmdFloor, Minimum
from ratchet.policy.floor.provenance import Provenance
from ratchet.policy.policy import Policy
from ratchet.ports import Record, Unreachable
from ratchet.standing import OPEN_ALERT
from streams.embedded import Kept
from streams.sqlite import Database
from streams.stores.ear_keys import MAX_AGE, PUBLISHED_FIRST, EarKeys
from streams.verify import Verify

TOKEN = "a-token-of-some-length"
NONCE = bytes(range(32))
HOUR = timedelta(hours=1)
CONFIGURATION = """
[policy]
may_be_impossible = ["executables", "floor"]
enrolment = {required = false}
[policy.require.snp]
"policy.migrate_ma" = "any"
[trust]
vendor_roots = false
[[trust.roots]]
name = "tests"
vendor = "amd"
file = "ark.der"
"""


class World:
    """A data directory that knows the vendor's documents, its entrance, and one machine of the vendor's."""

    def __init__(self, folder: Path, *, challenges: bool = True, configuration: str = CONFIGURATION) -> None:
        folder.mkdir(mode=0o700)
        self.vendor, self.now = Vendor(), NOW
        (folder / "ark.der").write_bytes(self.vendor.ark)
        (folder / "ratchet.toml").write_text(configuration)
        self.place = Home(folder, {})
        self.database = Database(self.place.database_path)
        for name, document in (("ark", self.vendor.ark), ("ask", self.vendor.signer()), ("crl", self.vendor.crl())):
            accept_document(
                document, name, "test", name, self.database.log, self.database.blobs, "/t", "default", NOW - HOUR
            )
        sender = Sender("kbs", hashlib.sha256(TOKEN.encode()).hexdigest(), gives_challenges=challenges)
        entrance = EvidenceAPI(
            (sender,),
            self.database.log,
            self.database.blobs,
            "default",
            lambda: self.now,
            lambda: 0.0,
            relying=RelyingParties(self.place),
        )
        self._transport = httpx.ASGITransport(app=entrance.app())

    def ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **request)

        return asyncio.run(send())

    def verdict(self, token: str = TOKEN, **changed: Any) -> httpx.Response:
        """Ask for a verdict on fresh evidence of the machine."""
        report = self.vendor.report(report_data=NONCE.ljust(64, b"\0"))
        body = {
            "delivery": "d1",
            "name": "node-1",
            "evidence": base64.b64encode(report).decode(),
            "endorsements": [base64.b64encode(self.vendor.vek()).decode()],
            "challenge": NONCE.hex(),
            "audience": "kbs.example",
        } | changed
        body = {key: value for key, value in body.items() if value is not None}
        return self.ask("POST", "/v1/verdict", json=body, headers={"Authorization": f"Bearer {token}"})

    def claims(self, answer: httpx.Response, at: datetime | None = None) -> dict[str, Any]:
        """What whoever fetched the keys reads in the token of an answer."""
        keys = self.ask("GET", "/v1/jwks").json()
        return ear.opened(answer.json()["ear"], keys, at or self.now)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "data")


def test_evidence_with_the_relying_partys_nonce_becomes_a_short_lived_signed_result(world: World) -> None:
    answer = world.verdict()
    assert (answer.status_code, answer.json()["status"]) == (200, "affirming"), answer.json()
    claims = world.claims(answer)
    assert (claims["aud"], claims["eat_nonce"], claims["iss"]) == ("kbs.example", NONCE.hex(), ear.ISSUER)
    assert claims["exp"] - claims["iat"] == 300
    submodule = claims["submods"]["snp"]
    assert submodule["ear_status"] == "affirming"
    told = submodule["ratchet"]
    assert (told["tenant"], told["family"], told["debug"]) == ("default", "snp/Milan", False)
    assert told["identity"] == "chip:" + world.vendor.chip.hex()
    assert told["tcb"]["reported.snp"] == 24
    assert told["measurements"]["measurement"] == "5f" * 48
    with pytest.raises(ear.BadToken, match="believed from"):
        world.claims(answer, world.now + timedelta(seconds=300))


def test_what_was_posted_for_a_verdict_is_on_the_log_as_any_evidence(world: World) -> None:
    answer = world.verdict()
    (record,) = world.database.log.read(["evidence"], 0, 9)
    assert record.event.id == answer.json()["evidence"]
    assert record.event.data["challenge"] == NONCE.hex()


def test_no_evidence_is_judged_that_is_not_on_the_log_whatever_its_delivery_id_brought_before(world: World) -> None:
    same = base64.b64encode(world.vendor.report(report_data=NONCE.ljust(64, b"\0"))).decode()
    first = world.verdict(evidence=same)
    assert world.verdict(evidence=same).json()["evidence"] == first.json()["evidence"], "a retry"
    nonce = bytes(range(1, 33))
    report = world.vendor.report(report_data=nonce.ljust(64, b"\0"))
    other = world.verdict(challenge=nonce.hex(), evidence=base64.b64encode(report).decode())
    _, second = world.database.log.read(["evidence"], 0, 9)
    assert second.event.id == other.json()["evidence"] != first.json()["evidence"]
    assert second.event.data["blob"] == digest(report)


def test_a_sender_that_gives_no_challenges_gets_a_verdict_and_vouches_for_nothing(tmp_path: Path) -> None:
    world = World(tmp_path / "data", challenges=False)
    assert world.verdict().json()["status"] == "affirming"
    (record,) = world.database.log.read(["evidence"], 0, 9)
    assert record.event.data["challenge"] is None


@pytest.mark.parametrize(
    ("why", "changed", "code"),
    [
        ("no nonce", {"challenge": None}, "challenge"),
        ("a nonce that can be guessed", {"challenge": "00112233"}, "challenge"),
        ("for nobody", {"audience": None}, "audience"),
        ("the audience that proves stores", {"audience": ear.PROOF_AUDIENCE}, "audience"),
        ("a caller's own word", {"genuine": True}, "unknown-key"),
    ],
)
def test_what_is_asked_wrongly_gets_no_token(world: World, why: str, changed: dict[str, Any], code: str) -> None:
    answer = world.verdict(**changed)
    assert (answer.status_code, answer.json()["code"]) == (422, code), why


def test_whoever_is_no_sender_gets_nothing_but_the_keys(world: World) -> None:
    assert world.verdict("another-token-of-some-length").status_code == 401
    answer = world.ask("GET", "/v1/jwks")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=900"
    (key,) = answer.json()["keys"]
    assert "d" not in key
    assert key["alg"] == "ES256"


def test_evidence_with_another_nonce_is_signed_as_not_affirming(world: World) -> None:
    answer = world.verdict(challenge="ee" * 32)
    assert answer.status_code == 200
    submodule = world.claims(answer)["submods"]["snp"]
    assert submodule["ear_status"] != "affirming"
    assert submodule["ratchet"]["reasons"]


def test_no_token_affirms_for_a_nonce_that_the_evidence_does_not_hold_whatever_the_policy_excuses(
    tmp_path: Path,
) -> None:
    """Plain RA-TLS binds a key and no nonce: such evidence could be shown again for every nonce."""
    excused = CONFIGURATION.replace('"floor"', '"floor", "freshness"')
    world = World(tmp_path / "data", configuration=excused)
    key = b"\x30\x59 the DER of a TLS key"
    report = world.vendor.report(report_data=hashlib.sha256(key).digest().ljust(64, b"\0"))
    answer = world.verdict(evidence=base64.b64encode(report).decode(), key=base64.b64encode(key).decode())
    submodule = world.claims(answer)["submods"]["snp"]
    assert submodule["ear_status"] == answer.json()["status"] == "none"
    assert submodule["ear_trustworthiness_vector"]["instance-identity"] == 0
    assert "challenge_not_bound" in submodule["ratchet"]["reasons"]


def test_a_machine_that_is_held_gets_no_affirming_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = {"code": OPEN_ALERT, "cause": "alert-1", "since": "2026-05-01T00:00:00Z", "tier": "warning"}
    known = {"tenant": "default", "recognition": "ours", "holds": [hold]}
    monkeypatch.setattr("ratchet.app.relying.standing_of", lambda *_: known)
    answer = world.verdict()
    assert answer.json()["status"] == "warning"
    assert world.claims(answer)["submods"]["snp"]["ratchet"]["reasons"][0] == "machine_held"
    assert "alert-1" in answer.json()["reasons"][0]["remedy"]


def test_a_token_for_a_nonce_that_the_evidence_does_not_hold_says_nothing_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = {"code": OPEN_ALERT, "cause": "alert-1", "since": "2026-05-01T00:00:00Z", "tier": "warning"}
    known = {"tenant": "default", "recognition": "ours", "holds": [hold]}
    monkeypatch.setattr("ratchet.app.relying.standing_of", lambda *_: known)
    raw = world.vendor.report(report_data=(b"\x01" * 32).ljust(64, b"\0"))
    answer = world.verdict(challenge="02" * 32, evidence=base64.b64encode(raw).decode())
    assert answer.json()["status"] == "none"


def test_a_verdict_is_reached_by_the_policy_that_the_verify_stage_judges_by(world: World) -> None:
    assert world.verdict().json()["status"] == "affirming"
    policy = configured_policy(world.place)
    provenance = Provenance(documents=(), pointer="", rule="test/1", reviewed_by="Ada")
    floor = AmdFloor(family="snp/Milan", minima=(Minimum(tcb={"reported.snp": 99}),), provenance=provenance)
    intent = {"policy": policy.to_data(), "floors": {"snp/Milan": floor.to_data()}}
    change = Event("c" * 64, "/t", "change.due.v1", "opa", NOW, "default", {"change": "c1", "intent": intent})
    state = Kept({})
    Verify((), policy, world.database.blobs).step([Record(1, "changes", change)], state, NOW)
    world.database.change_state({("verify", key): text for key, text in state.changes.items()})
    answer = world.verdict(delivery="d2")
    assert answer.json()["status"] != "affirming"
    told = world.claims(answer)["submods"]["snp"]["ratchet"]
    assert told["floor"] == digest(canonical(floor.to_data()))
    assert "below_floor" in told["reasons"]


def test_a_retired_machine_gets_no_affirming_token_where_enrolment_is_not_required(world: World) -> None:
    key = ("verify", "retired/default/chip:" + world.vendor.chip.hex())
    world.database.change_state({key: json.dumps({"since": "2026-05-01T00:00:00Z", "by": "ann"})})
    answer = world.verdict()
    assert answer.json()["status"] == "contraindicated"
    assert "machine_not_enrolled" in world.claims(answer)["submods"]["snp"]["ratchet"]["reasons"]


def test_firmware_below_what_the_machine_proved_before_gets_no_affirming_token_the_first_time(world: World) -> None:
    """Before the pipeline has seen that evidence, and raised the alert."""
    known = {"marks": {"reported.snp": [25, "2026-01-01T00:00:00.000000Z", "e" * 64]}, "due": {}}
    key = ("correlate", "known/default/chip:" + world.vendor.chip.hex())
    world.database.change_state({key: json.dumps(known)})
    answer = world.verdict()
    assert answer.json()["status"] == "warning"
    assert answer.json()["reasons"][0]["got"] == "firmware_rolled_back"


# Tokens


@pytest.fixture
def signed(world: World) -> tuple[str, dict[str, Any]]:
    token = world.verdict().json()["ear"]
    return token, world.ask("GET", "/v1/jwks").json()


def test_no_character_of_a_token_can_be_changed(signed: tuple[str, dict[str, Any]]) -> None:
    token, keys = signed
    assert ear.opened(token, keys, NOW)
    for place in range(0, len(token), 7):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(ear.BadToken):
            ear.opened(other, keys, NOW)


@pytest.mark.parametrize(
    ("why", "header"),
    [
        ("no algorithm", {"alg": "none"}),
        ("a symmetric algorithm, with the public key as its secret", {"alg": "HS256"}),
        ("a key that is not ours", {"alg": "ES256", "kid": "ratchet-0000000000000000"}),
        ("an extension that must be understood", {"alg": "ES256", "crit": ["x"]}),
    ],
)
def test_a_token_of_another_kind_is_a_forgery(
    signed: tuple[str, dict[str, Any]], why: str, header: dict[str, Any]
) -> None:
    token, keys = signed
    head = base64.urlsafe_b64encode(json.dumps({"kid": keys["keys"][0]["kid"]} | header).encode()).rstrip(b"=").decode()
    with pytest.raises(ear.BadToken) as refused:
        ear.opened(f"{head}.{token.split('.', 1)[1]}", keys, NOW)
    assert refused.value.code in ("token_forged", "token_key_unknown"), why


@pytest.mark.parametrize("token", ["", "..", "a.b", "a.b.c.d", "é.é.é", "e30.e30.", "W10.W10.AA", "x" * 70_000])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ear.BadToken):
        ear.opened(token, {"keys": []}, NOW)


# Keys


def test_keys_are_their_owners_alone_and_rotate_without_a_gap(tmp_path: Path) -> None:
    keys = EarKeys(tmp_path / "ear")
    first = keys.signer(NOW).id
    (file,) = (tmp_path / "ear").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert not keys.keep_young(NOW + HOUR)

    later = NOW + MAX_AGE
    assert keys.keep_young(later)
    second = next(one["kid"] for one in keys.jwks(later)["keys"] if one["kid"] != first)
    assert keys.signer(later + PUBLISHED_FIRST - HOUR / 60).id == first, "the new one is published before it signs"
    assert keys.signer(later + PUBLISHED_FIRST).id == second
    both = later + PUBLISHED_FIRST + timedelta(seconds=ear.MAX_LIFE - 1)
    assert len(keys.jwks(both)["keys"]) == 2, "tokens that the old one signed are still believed"
    over = both + timedelta(seconds=1)
    assert [one["kid"] for one in keys.jwks(over)["keys"]] == [second]
    assert keys.keep_young(over)
    assert len(list((tmp_path / "ear").iterdir())) == 1


def test_a_key_that_leaked_is_replaced_at_once(tmp_path: Path) -> None:
    keys = EarKeys(tmp_path / "ear")
    leaked = keys.signer(NOW)
    token = ear.sign({"iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 300}, leaked)
    assert ear.opened(token, keys.jwks(NOW), NOW)
    new = keys.replace_all(NOW)
    assert keys.signer(NOW).id == new
    with pytest.raises(ear.BadToken):
        ear.opened(token, keys.jwks(NOW), NOW)


def test_a_key_that_others_may_read_signs_nothing(tmp_path: Path) -> None:
    keys = EarKeys(tmp_path / "ear")
    keys.signer(NOW)
    (file,) = (tmp_path / "ear").iterdir()
    os.chmod(file, 0o644)
    with pytest.raises(Unreachable, match="others may read"):
        keys.signer(NOW)


def test_a_result_never_outlives_its_verdict_nor_its_bound(world: World) -> None:
    at = world.now
    relying = RelyingParties(world.place)
    report = world.vendor.report(report_data=NONCE.ljust(64, b"\0"))
    result = relying.judge(Evidence(report, endorsements=(world.vendor.vek(),), challenge=NONCE), "a", at)
    soon = replace(result.verdict, trusted_until=at + timedelta(seconds=40))
    claims = ear.result(soon, result.proof, Policy(), audience="a", tenant="t", challenge=NONCE, build="0")
    assert claims["exp"] - claims["iat"] == 40
    with pytest.raises(ValueError, match="lives"):
        ear.result(
            soon, result.proof, Policy(), audience="a", tenant="t", challenge=NONCE, build="0", life=ear.MAX_LIFE + 1
        )
    assert ear.nonce_of(bytes(64)) == digest(bytes(64))
    assert ear.nonce_of(bytes(16)) == "00" * 16
