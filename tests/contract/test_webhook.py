"""The webhook, against a real HTTP server that verifies as Standard Webhooks says, written from its text alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ratchet.event import Event, derived_id
from ratchet.ports import Refused, Unreachable
from streams.siem.webhook import LONGEST_WAIT, Webhook, signature

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1772331060


class Receiver(ThreadingHTTPServer):
    """Takes deliveries; `answers` are given in turn, 204 after the last."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.taken: list[dict[str, Any]] = []
        self.turned_away: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def verify(self, headers: Any, body: bytes) -> str | None:
        """What is wrong with a delivery: the steps of the specification's "Verifying signatures"."""
        if abs(int(headers["webhook-timestamp"]) - NOW) > 300:
            return "too old or too new"
        signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        want = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        given = [one.split(",", 1) for one in headers["webhook-signature"].split(" ")]
        if not any(version == "v1" and hmac.compare_digest(text, want) for version, text in given):
            return "no signature is right"
        return None


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        wrong = self.server.verify(self.headers, body)
        status, more = (401, {}) if wrong else self.server.answers.pop(0) if self.server.answers else (204, {})
        if wrong:
            self.server.turned_away.append(wrong)
        elif status < 300:
            self.server.taken.append({"id": self.headers["webhook-id"], "headers": self.headers} | json.loads(body))
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def change(number: int = 1) -> Event:
    data = {
        "change": "c" * 64,
        "store": "opa",
        "intent": "e" * 64,
        "base": None,
        "revision": "2" * 40,
        "outcome": "confirmed",
        "refused": 5,
        "passed": 2,
        "detail": "Zoë: 5 refused and 2 passed",
    }
    at = datetime(2026, 3, 1, 2, 11, tzinfo=UTC)
    return Event(derived_id("r", str(number)), "/streams/push", "receipt.confirmed.v1", "opa", at, "acme", data)


def hook(url: str, **more: Any) -> Webhook:
    return Webhook(url, SECRET, now=lambda: NOW, **more)


def test_a_delivery_verifies_and_says_what_happened(receiver: Receiver) -> None:
    hook(receiver.url).send(change())
    (taken,) = receiver.taken
    assert taken["id"] == change().id
    assert taken["headers"]["content-type"] == "application/json"
    assert (taken["type"], taken["timestamp"]) == ("dev.ratchet.receipt.confirmed.v1", "2026-03-01T02:11:00.000000Z")
    assert taken["data"]["event"]["action"] == "policy-change-confirmed"
    assert taken["data"]["event"]["reason"] == "Zoë: 5 refused and 2 passed"


def test_a_repeat_carries_the_same_id_and_body(receiver: Receiver) -> None:
    receiver.answers = [(200, {}), (202, {})]
    for _ in range(2):
        hook(receiver.url).send(change())
    first, second = receiver.taken
    assert first["id"] == second["id"]
    assert first["data"] == second["data"]


def test_a_delivery_carries_the_newest_link_of_the_hash_chain(receiver: Receiver) -> None:
    """Whoever keeps it can tell later that our log was replaced: `ratchet doctor --head`."""
    hook(receiver.url, head=lambda: f"7:{'ab' * 32}").send(change())
    (taken,) = receiver.taken
    assert taken["data"]["attestation"]["head"] == f"7:{'ab' * 32}"
    assert taken["data"]["attestation"] != {"head": f"7:{'ab' * 32}"}, "beside what it says of the change"


def test_another_secret_or_an_old_time_is_turned_away(receiver: Receiver) -> None:
    with pytest.raises(Unreachable, match="answered 401"):
        Webhook(receiver.url, "whsec_" + base64.b64encode(b"x" * 32).decode(), now=lambda: NOW).send(change())
    with pytest.raises(Unreachable):
        Webhook(receiver.url, SECRET, now=lambda: NOW - 3600).send(change())
    assert receiver.turned_away == ["no signature is right", "too old or too new"]


def test_the_signature_is_that_of_the_specifications_example() -> None:
    # Standard Webhooks, "Verifying signatures", the vector of its reference libraries' tests
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    given = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 408, 429, 500, 502, 503])
def test_what_may_be_better_later_is_tried_again(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {"location": receiver.url})]
    with pytest.raises(Unreachable, match=f"answered {status}"):
        hook(receiver.url).send(change())
    assert receiver.taken == []  # a redirect is not followed: it could lead anywhere
    hook(receiver.url).send(change())
    assert len(receiver.taken) == 1


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_will_never_be_taken_is_given_up(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {})]
    with pytest.raises(Refused, match=f"answered {status}"):
        hook(receiver.url).send(change())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), None),
        ("999999999999999999999", LONGEST_WAIT),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
def test_the_receiver_says_when_to_come_again(receiver: Receiver, text: str, seconds: float | None) -> None:
    receiver.answers = [(503, {"retry-after": text})]
    with pytest.raises(Unreachable) as away:
        hook(receiver.url).send(change())
    assert away.value.retry_after == seconds


def test_a_receiver_that_is_gone_is_left_alone_for_long(receiver: Receiver) -> None:
    receiver.answers = [(410, {})]
    with pytest.raises(Unreachable) as away:
        hook(receiver.url).send(change())
    assert away.value.retry_after == LONGEST_WAIT


def test_nobody_listening_is_unreachable(receiver: Receiver) -> None:
    receiver.server_close()
    with pytest.raises(Unreachable, match="ConnectError"):
        hook(receiver.url.replace(str(receiver.server_address[1]), "9")).send(change())


def test_the_secret_is_in_no_error_and_no_repr(receiver: Receiver) -> None:
    receiver.answers = [(500, {})]
    webhook = hook(receiver.url + "/T0K3N?key=T0K3N")
    with pytest.raises(Unreachable) as away:
        webhook.send(change())
    for text in (str(away.value), repr(away.value), repr(webhook)):
        assert SECRET not in text
        assert SECRET.removeprefix("whsec_") not in text
        assert repr(KEY) not in text
        assert "T0K3N" not in text  # many receivers put a secret into the path


@pytest.mark.parametrize(
    "secret", ["", "hunter2hunter2hunter2hunter2", "whsec_", "whsec_!!", "whsec_" + "QUJD", "whsec_ü"]
)
def test_a_secret_that_is_none_is_refused_without_showing_it(secret: str) -> None:
    with pytest.raises(ValueError, match="24 to 64 bytes") as wrong:
        Webhook("https://siem.example.com", secret)
    assert not secret or secret == "whsec_" or secret not in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://siem.example.com/hook", "unencrypted"),
        ("http://127.0.0.1.example.com/hook", "unencrypted"),
        ("http://10.0.0.1/hook", "unencrypted"),
        ("https://user:pa55@siem.example.com/hook", "in a file"),
        ("ftp://siem.example.com", "not an http"),
        ("file:///etc/passwd", "not an http"),
        ("siem.example.com", "not an http"),
    ],
)
def test_an_address_that_must_not_be_spoken_to_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as wrong:
        Webhook(url, SECRET)
    assert "pa55" not in str(wrong.value)


@pytest.mark.parametrize(
    "url", ["https://siem.example.com", "http://localhost:1/x", "http://127.0.0.9/x", "http://[::1]/x"]
)
def test_https_and_this_machine_may_be_spoken_to(url: str) -> None:
    assert Webhook(url, SECRET).name == "webhook"


def test_plain_http_elsewhere_must_be_asked_for_by_name() -> None:
    assert Webhook("http://10.0.0.1/hook", SECRET, dangerous_plain_http=True)


def test_proxies_of_the_environment_are_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    hook(receiver.url).send(change())
    assert len(receiver.taken) == 1
