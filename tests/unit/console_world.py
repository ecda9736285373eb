"""A console's world in memory: a read side, rows as the pipeline makes them, and a browser in process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from dashboards.console import app, guard, phrases
from ratchet.event import BlobId, Event, Json, delivery_id, derived_id, digest, stamp
from ratchet.ports import Page, Record

HOST = "127.0.0.1:8400"
OPERATOR = bytes(range(32))
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\"' ‮desrever‬ " + "x" * 90
"""A name that a sender chose: script, quotes, right to left, and 128 characters long."""


class Memory:
    """The read side, in memory."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.machines: dict[str, dict[str, Json]] = {}
        self.waiting_proposals: list[dict[str, Json]] = []
        self.unenrolled: list[dict[str, Json]] = []
        self.unproven: list[dict[str, Json]] = []
        self.in_force: list[dict[str, Json]] = []
        self.blobs: dict[str, bytes] = {}
        self.told: list[dict[str, Json]] = []
        self.looks = 0

    def add(self, topic: str, event: Event) -> Event:
        self.log.append(Record(len(self.log) + 1, topic, event))
        return event

    def _latest_alerts(self) -> dict[str, dict[str, Json]]:
        return {r.event.data["alert"]: dict(r.event.data) for r in self.log if r.topic == "alerts"}

    def counts(self) -> Mapping[str, int]:
        tiers = [m["tier"] for m in self.machines.values()]
        return {
            **{t: tiers.count(t) for t in phrases.TIERS},
            "alerts": sum(a["status"] == "open" for a in self._latest_alerts().values()),
            "proposals": len(self.waiting_proposals),
            "dead_letters": sum(r.topic == "dead-letters" for r in self.log),
            "events": len(self.log),
            "evidence": sum(r.topic == "evidence" for r in self.log),
            "simulated": sum(m["simulated"] for m in self.machines.values()),
        }

    def fleet(
        self, tier: str | None = None, family: str | None = None, after: str | None = None, limit: int = 100
    ) -> Page:
        rows = [m for k, m in sorted(self.machines.items()) if k > (after or "")]
        rows = [m for m in rows if tier in (None, m["tier"]) and family in (None, m["family"])]
        return Page(rows[:limit], rows[limit - 1]["identity"] if len(rows) > limit else None)

    def machine(self, identity: str) -> Mapping[str, Json] | None:
        found = [m for m in self.machines.values() if identity in (m["identity"], m["hint"])]
        return found[0] if found else None

    def waiting(self) -> Sequence[Mapping[str, Json]]:
        return self.unenrolled

    def senders(self) -> Sequence[Mapping[str, Json]]:
        return self.unproven

    def alerts(self, status: str | None = None, after: str | None = None, limit: int = 100) -> Page:
        return Page([a for a in self._latest_alerts().values() if status in (None, a["status"])][:limit], None)

    def proposals(self, state: str | None = None) -> Sequence[Mapping[str, Json]]:
        return [p for p in self.waiting_proposals if state in (None, p["state"])]

    def floors(self) -> Sequence[Mapping[str, Json]]:
        return self.in_force

    def policy(self, tenant: str) -> Mapping[str, Json] | None:
        return None

    def notifiers(self) -> Sequence[Mapping[str, Json]]:
        return self.told

    def event(self, id: str) -> Record | None:
        names = ("alert", "proposal")
        for r in reversed(self.log):
            if r.event.id.startswith(id) or any(str(r.event.data.get(n)).startswith(id) for n in names):
                return r
        return None

    def history(self, topic: str, subject: str, limit: int = 50) -> Sequence[Record]:
        return [r for r in reversed(self.log) if (r.topic, r.event.subject) == (topic, subject)][:limit]

    def search(self, query: str, limit: int = 100, seconds: float | None = None) -> Iterator[Record]:
        if query == "((":
            raise ValueError("a bracket is not closed, at character 3")
        return (r for r in reversed(self.log) if r.topic == query.removeprefix("topic:") or query in str(r.event.data))

    def dead_letters(self, after: str | None = None, limit: int = 100) -> Page:
        return Page([{"id": r.event.id, **r.event.data} for r in self.log if r.topic == "dead-letters"], None)

    def blob(self, blob: BlobId) -> bytes | None:
        return self.blobs.get(blob)

    def since(self, offset: int, limit: int = 1000) -> Sequence[Record]:
        self.looks += 1
        return self.log[offset : offset + limit]

    def head(self) -> int:
        return len(self.log)


def reason(code: str, component: str, got: Json, want: Json, remedy: str = "") -> dict[str, Json]:
    return {"code": code, "component": component, "got": got, "want": want, "source": "AMD 56860", "remedy": remedy}


def report(snp: int) -> bytes:
    """Bytes of a report's size, with the version of its firmware where the specification has it."""
    raw = bytearray(1184)
    raw[0] = 3
    raw[0x186] = snp
    raw[0x1A0:0x1E0] = bytes(range(64))
    return bytes(raw)


@dataclass
class Fleet:
    """Builds rows as the pipeline would, for one story after another."""

    reader: Memory = field(default_factory=Memory)
    at: datetime = NOON

    def tick(self) -> None:
        self.at += timedelta(minutes=1)
        self.reader.add(
            "ticks",
            Event(
                derived_id("tick", stamp(self.at)),
                "/clock",
                "clock.ticked.v1",
                "0",
                self.at,
                "acme",
                {"partition": "0"},
            ),
        )

    def attests(
        self,
        name: str,
        tier: str = "affirming",
        snp: int = 24,
        region: str = "eu-north",
        simulated: bool = False,
        raw: bytes | None = None,
        reasons: Sequence[Json] = (),
    ) -> Event:
        raw = report(snp) if raw is None else raw
        blob = digest(raw)
        self.reader.blobs[blob] = raw
        self.at += timedelta(seconds=10)
        hint = {"name": name, "region": region}
        sent = self.reader.add(
            "evidence",
            Event(
                delivery_id("acme", "/collectors/http", f"{name}{self.at}"),
                "/collectors/http",
                "evidence.received.v1",
                name,
                self.at,
                "acme",
                {"blob": blob, "size": len(raw), "hint": hint},
            ),
        )
        identity = f"chip:{digest(name.encode())}"
        root = {
            "name": "Simulated ARK-Milan" if simulated else "ARK-Milan",
            "fingerprint": "ab" * 32,
            "simulated": simulated,
        }
        steps: list[Json] = [
            {
                "name": s,
                "outcome": "not_possible" if s == "freshness" else "passed",
                "detail": f"{s} was looked at",
                "source": "AMD 56860",
                "reasons": [],
            }
            for s in ("parse", "chain", "revocation", "signature", "binding", "collateral", "freshness")
        ]
        tcb = {"reported.snp": snp, "reported.ucode": 213}
        data = {
            "evidence": sent.id,
            "blob": blob,
            "received": stamp(self.at),
            "late": False,
            "hint": hint,
            "format": "snp-report" if len(raw) == 1184 else None,
            "identity": identity,
            "weak": False,
            "instance": None,
            "family": "snp/Milan",
            "tee": "snp",
            "tier": tier,
            "vector": {},
            "ear": {},
            "steps": steps,
            "reasons": list(reasons),
            "claims": {
                "measurement": "ab" * 48,
                "signer": None,
                "debug": False,
                "report_data": "00",
                "tcb": tcb,
                "bits": {},
            },
            "tcb": None,
            "root": root,
            "collateral": ["cd" * 32],
            "policy": "ef" * 32,
            "code": "0.1.0",
            "trusted_until": None,
        }
        verdict = self.reader.add(
            "verdicts",
            Event(
                derived_id("verdict", sent.id), "/streams/verify", "verdict.reached.v1", identity, self.at, "acme", data
            ),
        )
        self.reader.machines[identity] = {
            "tenant": "acme",
            "identity": identity,
            "hint": name,
            "region": region,
            "workload": "payments",
            "tee": "snp",
            "family": "snp/Milan",
            "tier": tier,
            "since": stamp(self.at),
            "seen": stamp(self.at),
            "trusted_until": stamp(self.at + timedelta(days=1)),
            "verdict": verdict.id,
            "evidence": sent.id,
            "reasons": [r["code"] for r in reasons],
            "tcb": tcb,
            "bits": {},
            "tcb_status": None,
            "measurement": "ab" * 48,
            "root": root["name"],
            "simulated": simulated,
            "guests": {},
        }
        return verdict

    def alert(
        self,
        verdict: Event,
        rule: str = "firmware-rolled-back",
        level: str = "high",
        status: str = "open",
        title: str = "SNP firmware went back: 24 to 23",
    ) -> str:
        id = derived_id("alert", "acme", rule, verdict.subject, verdict.id)
        data = {
            "alert": id,
            "rule": rule,
            "title": title,
            "level": level,
            "status": status,
            "subject": verdict.subject,
            "tenant": "acme",
            "first_cause": verdict.id,
            "causes": [verdict.id],
            "count": 3,
            "opened": stamp(self.at),
            "updated": stamp(self.at),
            "revision": 1,
            "facts": {"attestation.component": "snp"},
            "reasons": [reason("firmware_rolled_back", "snp", 23, 24, "update SEV firmware to 24")],
            "by": None,
            "comment": None,
            "machines": [verdict.data["hint"]["name"]],
        }
        self.reader.add(
            "alerts",
            Event(
                derived_id("alert-event", id, status),
                "/streams/correlate",
                "alert.raised.v1",
                verdict.subject,
                self.at,
                "acme",
                data,
            ),
        )
        return id

    def proposal(self, refused: int, state: str = "proposed") -> str:
        def floor(snp: int) -> dict[str, Json]:
            return {
                "kind": "amd",
                "family": "snp/Milan",
                "provenance": {
                    "documents": ["9a" * 32],
                    "pointer": "/floors/0",
                    "rule": "amd.reviewed/1",
                    "reviewed_by": "rana",
                    "url": "https://www.amd.com/sb-3034",
                    "bulletin": "AMD-SB-3034",
                },
                "minima": [
                    {
                        "model": None,
                        "stepping": None,
                        "tcb": {"reported.snp": snp, "reported.ucode": 84},
                        "bits": {},
                        "mitigation": 0,
                    }
                ],
            }

        hits = [
            {
                "identity": f"chip:{i:064x}",
                "hint": f"cvm-mil-{i:06}",
                "region": ["eu-north", "us-east"][i % 3 == 0],
                "why": [reason("below_floor", "reported.snp", 22, 24)],
            }
            for i in range(refused)
        ]
        id = derived_id("proposal", "snp/Milan", str(refused))
        data = {
            "proposal": id,
            "hash": "7d" * 32,
            "family": "snp/Milan",
            "floor": floor(24),
            "before": floor(22),
            "exact": False,
            "tightening": True,
            "automatic": False,
            "why": "reviewed floors wait for approval",
            "impact": {"considered": 30000, "refused": hits, "already_refused": 12, "unknown": 106, "abstains": []},
            "bound": {"max_refused": 50, "max_fraction": 0.01},
        }
        self.reader.waiting_proposals.append(
            {
                "proposal": data,
                "tenant": "acme",
                "state": state,
                "approvals": [
                    {
                        "proposal": id,
                        "hash": "7d" * 32,
                        "by": "mikael",
                        "signature": "00",
                        "comment": "eu-north is patched",
                    }
                ],
                "history": [{"at": stamp(self.at), "state": "proposed", "by": None, "comment": None}],
                "change": None,
                "receipts": {},
            }
        )
        self.reader.in_force[:] = [
            {
                "tenant": "acme",
                "family": "snp/Milan",
                "floor": floor(22),
                "proposal": id,
                "change": "c",
                "since": stamp(self.at),
                "stores": {"git": "3f9c7be1" * 5},
            }
        ]
        return id

    def letter(self, raw: bytes) -> str:
        blob = digest(raw)
        self.reader.blobs[blob] = raw
        id = derived_id("letter", blob)
        self.reader.add(
            "dead-letters",
            Event(
                id,
                "/streams/verify",
                "letter.dead.v1",
                "/collectors/http/agent-7",
                self.at,
                "acme",
                {
                    "code": "unknown_format",
                    "detail": "bytes of no known format",
                    "blob": blob,
                    "size": len(raw),
                    "origin": "/collectors/http/agent-7",
                    "topic": "evidence",
                    "event": None,
                    "remedy": "look at the sender",
                },
            ),
        )
        return id


class Browser:
    """Asks the application as a browser with a session would, in process."""

    def __init__(self, reader: Memory) -> None:
        self.sent: list[tuple[str, Event]] = []
        self.clock = NOON
        self.token = guard.LoginToken("rana")
        self.secret = self.token.issue(self.clock)
        self.app = app.create(
            reader,
            lambda topic, event: self.sent.append((topic, event)),
            tenant="acme",
            token=self.token,
            hosts=(HOST,),
            now=lambda: self.clock,
            key=OPERATOR,
        )
        self.cookies: dict[str, str] = {}

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://{HOST}", cookies=self.cookies
            ) as client:
                return await client.request(method, path, headers=headers, **more)

        answer = asyncio.run(once())
        self.cookies |= dict(answer.cookies)
        return answer

    def post(self, path: str, data: Mapping[str, str], origin: str = f"http://{HOST}") -> httpx.Response:
        return self.ask(path, "POST", {"origin": origin}, data=data)

    def sign_in(self) -> Browser:
        assert self.post("/login", {"token": self.secret}).status_code == 303
        return self
