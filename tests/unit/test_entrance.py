"""The entrance: evidence goes in over HTTP, and nothing is answered before its bytes are safe."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.delivery import MAX_DOCUMENT, Rejected, accept_document
from collectors.http import EvidenceAPI, Sender
from collectors.request import MAX_BODY
from ratchet.event import BlobId
from streams.sqlite import Database

TOKEN = "a-token-of-some-length"
AT = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
CHALLENGE = "00ff" * 8


class World:
    """An entrance over a real database, with hands on its two clocks."""

    def __init__(
        self,
        path: Path,
        *,
        rate: float = 50.0,
        burst: int = 200,
        asks: bool = True,
        quota: int = 1 << 30,
        taken: int = 0,
    ) -> None:
        self.database = Database(path)
        self.seconds = 0.0
        self.now, self.room = AT, True
        sender = Sender("agent-7", hashlib.sha256(TOKEN.encode()).hexdigest(), rate, burst, asks, bytes_per_day=quota)
        self.serve(
            EvidenceAPI(
                (sender,),
                self.database.log,
                self.database.blobs,
                "default",
                lambda: self.now,
                lambda: self.seconds,
                lambda: self.room,
                {"agent-7": taken},
            )
        )

    def serve(self, entrance: EvidenceAPI) -> None:
        self._transport = httpx.ASGITransport(app=entrance.app())

    async def post(self, token: str | None = TOKEN, **request: object) -> httpx.Response:
        headers = httpx.Headers({"Authorization": f"Bearer {token}"} if token else {})
        headers = httpx.Headers([*headers.multi_items(), *httpx.Headers(request.pop("headers", {})).multi_items()])
        async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1") as client:
            return await client.post("/v1/evidence", headers=headers, **request)

    def send(self, token: str | None = TOKEN, **request: object) -> httpx.Response:
        import asyncio

        return asyncio.run(self.post(token, **request))

    def events(self) -> list[dict[str, object]]:
        return [record.event.envelope() for record in self.database.log.read(["evidence"], 0, 100)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "ratchet.db")
    yield made
    made.database.close()


def piece(**changes: object) -> dict[str, object]:
    return {"delivery": "d-1", "name": "node-3", "evidence": base64.b64encode(b"quote").decode(), **changes}


def test_a_piece_of_evidence_is_on_disk_when_it_is_answered(world: World) -> None:
    answer = world.send(json=piece(challenge=CHALLENGE, region="eu-1", workload="ledger", format="tdx-quote"))
    assert answer.status_code == 201
    assert world.database.blobs.get(BlobId(answer.json()["blob"])) == b"quote"
    (event,) = world.events()
    assert event["id"] == answer.json()["id"]
    assert event["source"] == "/collectors/http/agent-7"
    assert event["data"]["hint"] == {"name": "node-3", "region": "eu-1", "workload": "ledger"}
    assert event["data"]["challenge"] == CHALLENGE


def test_a_key_that_the_agent_binds_is_kept_with_its_evidence(world: World) -> None:
    """A header or a member; whether report data hold it is verified, so anybody may send one."""
    key = b"\x30\x59 public key"
    text = base64.b64encode(key).decode()
    raw = {"content-type": "application/octet-stream", "ratchet-delivery": "d-2", "ratchet-name": "n01"}
    assert world.send(json=piece(key=text)).status_code == 201
    assert world.send(content=b"quote", headers={**raw, "ratchet-key": text}).status_code == 201
    assert [event["data"]["key"] for event in world.events()] == [key.hex()] * 2


def test_who_gives_no_challenges_cannot_say_that_one_was_met(tmp_path: Path) -> None:
    """An attester that named its own challenge would make evidence of last year fresh."""
    world = World(tmp_path / "ratchet.db", asks=False)
    raw = {"content-type": "application/octet-stream", "ratchet-delivery": "d", "ratchet-name": "n"}
    for request in (
        {"json": piece(challenge=CHALLENGE)},
        {"content": b"quote", "headers": {**raw, "ratchet-challenge": CHALLENGE}},
    ):
        answer = world.send(**request)
        assert (answer.status_code, answer.json()["code"]) == (422, "challenge-not-yours")
    assert world.events() == []
    assert world.send(json=piece()).status_code == 201
    world.database.close()


def test_only_the_configuration_says_that_a_sender_vouches_for_freshness(tmp_path: Path) -> None:
    world = World(tmp_path / "ratchet.db")
    assert world.send(json=piece(vouched=True)).status_code == 422
    assert world.send(json=piece()).status_code == 201
    trusted = EvidenceAPI(
        (Sender("log", hashlib.sha256(TOKEN.encode()).hexdigest(), vouches_freshness=True),),
        world.database.log,
        world.database.blobs,
        "default",
        lambda: AT,
        lambda: 0.0,
    )
    world.serve(trusted)
    assert world.send(json=piece(delivery="d-2")).status_code == 201
    assert [event["data"]["vouched"] for event in world.events()] == [False, True]
    world.database.close()


def test_a_retry_changes_nothing_and_is_answered_the_same(world: World) -> None:
    first, again = world.send(json=piece()), world.send(json=piece())
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["repeated"] is True
    assert len(world.events()) == 1


def test_a_replay_is_a_new_event_with_the_old_blob(world: World) -> None:
    first, replay = world.send(json=piece()), world.send(json=piece(delivery="d-2"))
    assert replay.status_code == 201
    assert first.json()["blob"] == replay.json()["blob"]
    assert first.json()["id"] != replay.json()["id"]


def test_raw_bytes_travel_under_their_own_media_type(world: World) -> None:
    headers = {
        "Content-Type": "application/vnd.ratchet.snp-report",
        "Ratchet-Delivery": "d-9",
        "Ratchet-Name": "node-4",
        "Ratchet-Challenge": CHALLENGE,
    }
    answer = world.send(content=b"\x02\x00\x00\x00report", headers=headers)
    assert answer.status_code == 201
    assert world.events()[0]["data"]["format"] == "snp-report"


@pytest.mark.parametrize("token", [None, "", "wrong-token-of-some-length", "x" * 600])
def test_who_has_no_token_is_refused_and_leaves_no_trace(world: World, token: str | None) -> None:
    answer = world.send(token, json=piece())
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert world.events() == []


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (piece(evidence="not base64!"), "not-base64"),
        (piece(evidence=7), "not-base64"),
        (piece(name=""), "name"),
        (piece(name="n" * 129), "name"),
        (piece(name="a\x1b[2J"), "name"),
        (piece(delivery=""), "delivery"),
        (piece(format="jpeg"), "format"),
        (piece(challenge="zz"), "not-hex"),
        (piece(challenge="00" * 65), "challenge"),
        (piece(challenge="00" * 15), "challenge"),
        (piece(key="not base64!"), "not-base64"),
        (piece(key=7), "not-base64"),
        (piece(key=""), "key"),
        (piece(key=base64.b64encode(bytes(8193)).decode()), "key"),
        (piece(delivery=7), "not-text"),
        (piece(name=["node-3"]), "not-text"),
        (piece(format=True), "not-text"),
        (piece(endorsements=["AA=="] * 9), "endorsements"),
        (piece(colour="red"), "unknown-key"),
        (["a", "list"], "not-an-object"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_a_code(world: World, said: object, code: str) -> None:
    answer = world.send(json=said)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert world.events() == []


def test_an_oversized_request_is_refused_before_it_is_read_whole(world: World) -> None:
    assert world.send(content=b"x" * (MAX_BODY + 1)).status_code == 413

    async def endless() -> object:
        for _ in range(MAX_BODY // 4096 + 2):
            yield b"x" * 4096

    assert world.send(content=endless()).status_code == 413
    assert world.events() == []


def test_deep_nesting_is_an_answer_not_a_crash(world: World) -> None:
    answer = world.send(content=b"[" * 100_000, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "not-json")


def test_a_sender_beyond_its_rate_waits_and_is_told_how_long(tmp_path: Path) -> None:
    world = World(tmp_path / "ratchet.db", rate=0.5, burst=2)
    codes = [world.send(json=piece(delivery=str(i))).status_code for i in range(3)]
    assert codes == [201, 201, 429]
    assert world.send(json=piece(delivery="9")).headers["retry-after"] == "2"
    world.seconds = 2.0
    assert world.send(json=piece(delivery="3")).status_code == 201


def test_bytes_without_a_media_type_are_not_guessed_at(world: World) -> None:
    assert world.send(content=b"x").json()["code"] == "media-type"


@given(
    body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "application/octet-stream", "text/html"])
)
def test_no_body_whatever_makes_the_entrance_fail(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, kind: str
) -> None:
    world = World(tmp_path_factory.mktemp("entrance") / "ratchet.db")
    answer = world.send(content=body, headers={"Content-Type": kind})
    assert answer.status_code in (201, 422)
    world.database.close()


def test_a_document_has_its_own_bound(world: World) -> None:
    with pytest.raises(Rejected):
        accept_document(
            b"x" * (MAX_DOCUMENT + 1), "tcb", "file", "d", world.database.log, world.database.blobs, "/c", "default", AT
        )


@pytest.mark.parametrize(
    "body",
    [
        b'{"delivery": "d", "name": "node-1", "name": "node-2", "evidence": "AA=="}',
        b'{"delivery": "d", "name": "node-1", "evidence": "AA==", "evidence": "AQ=="}',
    ],
)
def test_a_key_that_is_there_twice_is_refused(world: World, body: bytes) -> None:
    """Of two keys of one name a filter in front may have read the other."""
    answer = world.send(content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "repeated-key")
    assert world.events() == []


def test_a_header_that_is_there_twice_is_refused(world: World) -> None:
    sent = [("Authorization", f"Bearer {TOKEN}"), ("Content-Type", "application/octet-stream")]
    sent += [("Ratchet-Delivery", "d"), ("Ratchet-Name", "node-1"), ("Ratchet-Name", "node-2")]
    answer = world.send(None, content=b"quote", headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (422, "repeated-header")
    assert world.events() == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "deflate"])
def test_a_body_that_is_encoded_is_refused_not_misread(world: World, encoding: str) -> None:
    """Packed bytes were kept as the evidence, and judged as a forgery."""
    headers = {"Content-Type": "application/octet-stream", "Ratchet-Delivery": "d", "Ratchet-Name": "n"}
    answer = world.send(content=b"quote", headers={**headers, "Content-Encoding": encoding})
    assert (answer.status_code, answer.json()["code"]) == (415, "content-encoding")
    assert answer.headers["accept-encoding"] == "identity"
    assert world.events() == []
    assert world.send(content=b"quote", headers={**headers, "Content-Encoding": "identity"}).status_code == 201


def test_no_address_of_ours_redirects_to_the_host_that_a_request_names(world: World) -> None:
    import asyncio

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=world._transport, base_url="http://evil.example") as client:
            return await client.post("/v1/evidence/", headers={"Authorization": f"Bearer {TOKEN}"}, json=piece())

    answer = asyncio.run(ask())
    assert answer.status_code == 404
    assert "location" not in answer.headers


def test_a_sender_has_so_many_bytes_a_day(tmp_path: Path) -> None:
    """One sender with a token could fill the disk with bytes that differ in one place."""
    world = World(tmp_path / "ratchet.db", quota=12, taken=2)
    assert [world.send(json=piece(delivery=str(i))).status_code for i in range(2)] == [201, 201]
    refused = world.send(json=piece(delivery="2"))
    assert (refused.status_code, refused.json()["code"]) == (429, "quota")
    assert refused.headers["retry-after"] == str(16 * 3600)
    world.now = AT + timedelta(hours=16)
    assert world.send(json=piece(delivery="2")).status_code == 201
    world.database.close()


def test_when_the_disk_is_nearly_full_evidence_is_refused_and_told_when_to_come_back(world: World) -> None:
    assert world.send(json=piece()).status_code == 201
    world.room = False
    refused = world.send(json=piece(delivery="d-2"))
    assert (refused.status_code, refused.json()["code"]) == (503, "disk")
    assert refused.headers["retry-after"] == "60"
    assert len(world.events()) == 1
    world.room = True
    assert world.send(json=piece(delivery="d-2")).status_code == 201


def test_a_disk_that_is_full_after_all_loses_nothing_that_was_acknowledged(world: World) -> None:
    (pages,) = world.database._connection.execute("PRAGMA page_count").fetchone()
    world.database._connection.execute(f"PRAGMA max_page_count = {pages + 40}")
    large = base64.b64encode(b"quote" * 2000).decode()
    answers = [world.send(json=piece(delivery=str(n), evidence=large[: -4 * n or None])) for n in range(30)]
    codes = [answer.status_code for answer in answers]
    assert set(codes) == {201, 503}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 503} == {"disk"}
    kept = {event["id"] for event in world.events()}
    assert kept == {answer.json()["id"] for answer in answers if answer.status_code == 201}


def test_the_disks_room_is_asked_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below `disk.reserve_mib` nothing is taken, but for what deleted records left free in the file."""
    import shutil

    from ratchet.app.home import Home

    place = Home(tmp_path, {"RATCHET_DISK__RESERVE_MIB": "1"})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 << 20, 9 << 20, 1 << 20))
    place.database().close()
    assert place.room()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 << 20, 10 << 20, 0))
    assert not place.room()
    database = place.database()
    database.blobs.put(bytes(2 << 20))
    with database.transaction() as connection:
        connection.execute("DELETE FROM blobs")
    database.close()
    assert place.room()


def test_an_attack_over_real_sockets_leaves_the_evidence_api_answering(tmp_path: Path) -> None:
    """Two hundred idle connections, half a request each; a sender is still answered, and its rate still holds."""
    import socket
    import threading

    from ratchet.app import serving
    from ratchet.app.home import Home

    (tmp_path / "ratchet.toml").write_text(
        "[entrance]\nlisten = '127.0.0.1:0'\n[entrance.senders.a]\n"
        f"token_sha256 = '{hashlib.sha256(TOKEN.encode()).hexdigest()}'"
        "\nrate = 0.01\nburst = 3\n[http]\nconnections = 32\nconnections_per_address = 32\n[disk]\nreserve_mib = 0\n"
    )
    place = Home(tmp_path, {})
    place.database().close()
    server, (listening,) = serving.entrance(place)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    address = listening.getsockname()
    attack = []
    try:
        for n in range(200):
            attack.append(socket.create_connection(address, timeout=10))
            if n % 2:
                attack[-1].sendall(b"POST /v1/evidence HTTP/1.1\r\nhost: x\r\ncontent-le")
        url = f"http://127.0.0.1:{address[1]}/v1/evidence"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answers = [httpx.post(url, json=piece(delivery=str(n)), headers=headers, timeout=10) for n in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert int(answers[-1].headers["retry-after"]) > 0
        assert httpx.post(url, json=piece(), timeout=10).status_code == 401
    finally:
        for one in attack:
            one.close()
        server.should_exit = True
        thread.join(10)
