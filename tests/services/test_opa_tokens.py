"""A real OPA releases something for the relying party's own token alone: whole, fresh, by the policy that it names."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from policy_stores import intent
from test_opa import POLICY, TOKEN, running

from ratchet import ear
from ratchet.event import Json
from ratchet.policy.floor import from_data
from streams.stores.layout import DATA, files_of, policy_hash, served
from streams.stores.samples import OneKey, keys_file

NONCE = "ab" * 16
HELD = intent()


class Store:
    """An OPA with one policy, and the verifier whose keys it has."""

    def __init__(self, client: httpx.Client) -> None:
        self.client, self.keys, self.now = client, OneKey(), datetime.now(UTC)
        client.put("/v1/data/ratchet_policy", content=served(files_of(HELD))[DATA]).raise_for_status()
        client.put("/v1/data/ratchet_keys", content=keys_file(self.keys.jwks(self.now))).raise_for_status()

    def claims(self, **changed: Json) -> dict[str, Json]:
        """Of a token for a machine that meets the policy."""
        second = int(self.now.timestamp())
        machine = {"tenant": "default", "policy": policy_hash(HELD), "family": "snp/Milan", "debug": False}
        machine |= {"tcb": {"reported.snp": 24}, "bits": {}, "evaluation": None}
        submods = {"snp": {"ear_status": "affirming", "ratchet": machine}}
        base = {"iss": ear.ISSUER, "aud": "kbs", "iat": second, "exp": second + 300, "eat_nonce": NONCE}
        return {**base, "submods": submods, **changed}

    def token(self, **changed: Json) -> str:
        return ear.sign(self.claims(**changed), self.keys.signer(self.now))

    def ask(self, token: Any, **changed: Json) -> tuple[bool, set[str]]:
        asked = {"token": token, "audience": "kbs", "tenant": "default", "nonce": NONCE, **changed}
        answer = self.client.post("/v1/data/ratchet/decision", json={"input": asked}).json()["result"]
        return answer["allow"], {reason["code"] for reason in answer["reasons"]}


@pytest.fixture(scope="module")
def store(opa: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder, headers = tmp_path_factory.mktemp("tokens"), {"Authorization": f"Bearer {TOKEN}"}
    with running(opa, folder, str(POLICY)) as url, httpx.Client(base_url=url, headers=headers) as client:
        yield Store(client)


def test_a_token_for_this_nonce_and_audience_by_the_policy_in_force_is_admitted(store: Store) -> None:
    assert store.ask(store.token()) == (True, set())
    assert store.ask(store.token(), policy=policy_hash(HELD), evaluation=20) == (True, set())


def _reheaded(token: str, header: dict[str, Json]) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode() + token[token.index(".") :]


def test_a_forged_token_is_refused(store: Store) -> None:
    good = store.token()
    kid = store.keys.signer(store.now).id
    head, body, _ = good.split(".")
    lifted = base64.urlsafe_b64encode(json.dumps(store.claims(exp=2**40)).encode()).rstrip(b"=").decode()
    stranger = ear.sign(store.claims(), OneKey().signer(store.now))
    for why, token in {
        "another key": stranger,
        "another key under our name": _reheaded(stranger, {"alg": "ES256", "kid": kid}),
        "no algorithm": _reheaded(f"{head}.{body}.", {"alg": "none", "kid": kid}),
        "no signature": f"{head}.{body}.",
        "other claims": good.replace(body, lifted),
        "a key that nobody knows": _reheaded(good, {"alg": "ES256", "kid": "unknown"}),
        "no key id": _reheaded(good, {"alg": "ES256"}),
        "nothing": "",
        "a caller's word": {"genuine": True},
    }.items():
        allowed, codes = store.ask(token)
        assert not allowed, why
        assert codes & {"token_refused", "token_key_unknown"}, why


@pytest.mark.parametrize(
    ("why", "claims", "asked", "code"),
    [
        ("expired", {"exp": 1}, {}, "token_refused"),
        ("without an end", {"exp": None}, {}, "token_refused"),
        ("for ever", {"exp": 2**40}, {}, "token_refused"),
        ("from the future", {"iat": 2**40, "exp": 2**40 + 300}, {}, "token_refused"),
        ("of another issuer", {"iss": "urn:another"}, {}, "token_refused"),
        ("another audience's", {"aud": "vault"}, {}, "token_refused"),
        ("for an audience that the caller does not name", {}, {"audience": None}, "token_refused"),
        ("replayed: the relying party gave another nonce since", {}, {"nonce": "cd" * 16}, "nonce_mismatch"),
        ("no nonce was given", {"eat_nonce": ""}, {"nonce": ""}, "nonce_mismatch"),
        ("another tenant's", {}, {"tenant": "acme"}, "tenant_mismatch"),
        ("judged by an older policy than is named", {}, {"policy": "f" * 64}, "policy_mismatch"),
        ("a policy is named that is none", {}, {"policy": None}, "policy_mismatch"),
    ],
)
def test_a_token_that_is_not_for_this_question_is_refused(
    store: Store, why: str, claims: dict[str, Json], asked: dict[str, Json], code: str
) -> None:
    allowed, codes = store.ask(store.token(**claims), **asked)
    assert (allowed, codes) == (False, {code}), why


@pytest.mark.parametrize(
    ("why", "changed", "status", "asked", "code"),
    [
        ("not affirming", {}, "warning", {}, "not_affirming"),
        ("below the floor", {"tcb": {"reported.snp": 23}}, "affirming", {}, "below_floor"),
        ("open to debug", {"debug": True}, "affirming", {}, "debug_enabled"),
        ("a family without a floor", {"family": "snp/Rome"}, "affirming", {}, "no_floor"),
        ("by the policy before", {"policy": "0" * 64}, "affirming", {}, "policy_mismatch"),
        ("of another tenant", {"tenant": "acme"}, "affirming", {"tenant": "acme"}, "tenant_mismatch"),
    ],
)
def test_what_a_sound_token_says_is_held_against_the_policy_once_more(
    store: Store, why: str, changed: dict[str, Json], status: str, asked: dict[str, Json], code: str
) -> None:
    machine = {**store.claims()["submods"]["snp"]["ratchet"], **changed}
    token = store.token(submods={"snp": {"ear_status": status, "ratchet": machine}})
    assert store.ask(token, **asked) == (False, {code}), why


def test_an_older_evaluation_than_the_least_is_refused(store: Store) -> None:
    machine = {**store.claims()["submods"]["snp"]["ratchet"], "evaluation": 19}
    token = store.token(submods={"tdx": {"ear_status": "affirming", "ratchet": machine}})
    assert store.ask(token, evaluation=19) == (True, set())
    assert store.ask(token, evaluation=20) == (False, {"evaluation_too_low"})


def test_the_grace_of_another_policy_that_is_named_does_not_reach_below_the_floors_held(store: Store) -> None:
    own = store.claims()["submods"]["snp"]["ratchet"] | {"tcb": {"reported.snp": 23}, "in_grace": True}
    other = own | {"policy": "0" * 64}
    floors = {family: from_data(floor) for family, floor in HELD.floors.items()}
    for machine, codes in ((own, set()), (other, {"below_floor"})):
        claims = store.claims(submods={"snp": {"ear_status": "affirming", "ratchet": machine}})
        token = ear.sign(claims, store.keys.signer(store.now))
        assert store.ask(token, policy=machine["policy"]) == (not codes, codes)
        asked = ear.Asked(audience="kbs", tenant="default", nonce=NONCE, policy=machine["policy"])
        found = ear.refusals(claims, asked, floors, tenant="default", policy=policy_hash(HELD))
        assert {reason.code for reason in found} == codes
