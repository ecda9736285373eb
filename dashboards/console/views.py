"""What each page shows, read through `ratchet.ports.Reader`; no HTML here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from dashboards.console import charts, explain, floors, phrases
from ratchet.detect.alerts import by_hand
from ratchet.event import BlobId, Json, derived_id, stamp
from ratchet.ports import Reader, Record

Row = Mapping[str, Json]

MOST = 60
"""Rows of a list on one page, which thereby stays below 55 KB."""

ALL = 1000
"""Rows that facets are counted over."""

URGENT = 6
"""Alerts on the overview: a page shows what needs somebody now."""


@dataclass(frozen=True, slots=True)
class Views:
    """The pages' contents."""

    reader: Reader
    tenant: str

    def frame(self, wall: datetime) -> dict[str, Any]:
        """What every page has: counts, and the moment it speaks of: the log's last tick, or else the wall's time."""
        ticks = self.reader.history("ticks", "0", 1)
        tick = ticks[0].event.time if ticks else None
        return {
            "counts": self.reader.counts(),
            "at": tick or wall,
            "tick": stamp(tick) if tick else None,
            "behind": phrases.age((wall - tick).total_seconds())
            if tick and (wall - tick).total_seconds() > 120
            else None,
        }

    def overview(self) -> dict[str, Any]:
        """Who needs help, what waits, what is in force."""
        waiting = [p for p in map(proposal, self.reader.proposals()) if p["state"] == "proposed"]
        return {
            "share": self.share(),
            "alerts": self.urgent(),
            "waiting": waiting[:3],
            "more_waiting": len(waiting) - 3,
            "unwell": self.unwell(8),
            "floors": self.floors(),
            "letters": self.reader.dead_letters(limit=3).rows,
            "silent": [n for n in self.reader.notifiers() if n.get("error")],
        }

    def share(self) -> list[charts.Part]:
        """The fleet by standing."""
        counts = self.reader.counts()
        return charts.share([(tier, counts.get(tier, 0)) for tier in phrases.TIERS])

    def urgent(self) -> list[dict[str, Any]]:
        """Alerts that are not resolved, worst first, newest first among equals."""
        rows = [r for s in ("open", "acknowledged") for r in self.reader.alerts(status=s, limit=URGENT).rows]
        return [self.alert_row(r) for r in ranked(rows)[:URGENT]]

    def unwell(self, most: int) -> list[Row]:
        """Machines that are not affirming, contraindicated first."""
        found: list[Row] = []
        for tier in ("contraindicated", "warning", "none"):
            if len(found) < most:
                found += self.reader.fleet(tier=tier, limit=most - len(found)).rows
        return found

    def alert_row(self, row: Row) -> dict[str, Any]:
        """An alert with what it rests on, and what somebody decided about it that no tick has taken up yet."""
        pending = None
        if row["status"] != "resolved":
            for record in self.reader.history("decisions", row["alert"], 1):
                word = record.event.type.split(".")[1]
                if word != row["status"] and stamp(record.event.time) > row["updated"]:
                    pending = {"status": word, "by": record.event.data.get("by")}
        cause = self.reader.event(row["causes"][-1]) if row["causes"] else None
        root = cause.event.data.get("root") if cause and cause.topic == "verdicts" else None
        return {
            **row,
            "pending": pending,
            "by_hand": by_hand(row),
            "simulated": root["name"] if root and root["simulated"] else None,
        }

    def alerts(self, status: str | None, level: str | None, rule: str | None) -> dict[str, Any]:
        """The list, with facets counted over what the other facets leave."""
        every = ranked(self.reader.alerts(limit=ALL).rows)
        chosen = {"status": status, "level": level, "rule": rule}
        facets = {name: _facet(every, name, chosen) for name in chosen}
        found = [r for r in every if _fits(r, chosen)]
        return {
            "facets": facets, "chosen": chosen, "found": len(found), "rows": [self.alert_row(r) for r in found[:MOST]],
        }  # fmt: skip

    def alert(self, id: str) -> dict[str, Any] | None:
        """One alert with its revisions, decisions and the evidence behind it."""
        record = self.reader.event(id)
        if record is None or record.topic != "alerts":
            return None
        data = record.event.data
        same = [
            r
            for r in self.reader.history("alerts", record.event.subject, 200)
            if r.event.data["alert"] == data["alert"]
        ]
        latest = same[0].event.data if same else data
        line = same + list(self.reader.history("decisions", latest["alert"]))
        return {
            "alert": {**self.alert_row(latest), "reasons": own_first(alike(latest["reasons"]), latest["rule"])},
            "known": self.reader.machine(latest["subject"]) is not None,
            "line": sorted(line, key=lambda r: r.event.time, reverse=True)[:50],
            "causes": [r for c in latest["causes"][-20:] if (r := self.reader.event(c))],
        }

    def fleet(self, tier: str | None, family: str | None, after: str | None) -> dict[str, Any]:
        """One page of machines."""
        page = self.reader.fleet(tier=tier, family=family, after=after, limit=MOST)
        first = after is None and tier in (None, "none")
        senders = [row for row in self.reader.senders() if family in (None, row["family"])] if first else []
        waiting = [row for row in self.reader.waiting() if row["tenant"] == self.tenant] if after is None else []
        return {
            "rows": page.rows,
            "after": page.after,
            "tier": tier,
            "family": family,
            "share": self.share(),
            "senders": senders[:MOST],
            "more_senders": max(0, len(senders) - MOST),
            "waiting": [self.waiting_row(row) for row in waiting[:MOST]],
            "more_waiting": max(0, len(waiting) - MOST),
        }

    def waiting_row(self, row: Row) -> dict[str, Any]:
        """A machine that waits, with what somebody decided about it that no tick has taken up yet."""
        pending = None
        for record in self.reader.history("decisions", row["identity"], 1):
            if stamp(record.event.time) > row["seen"]:
                pending = {"status": record.event.type.split(".")[1], "by": record.event.data.get("by")}
        return {**row, "pending": pending}

    def waits(self, identity: str) -> Row | None:
        """One machine that waits to be enrolled."""
        rows = self.reader.waiting()
        return next((r for r in rows if r["identity"] == identity and r["tenant"] == self.tenant), None)

    def machine(self, name: str) -> dict[str, Any] | None:
        """One machine: standing, versions, evidence, alerts."""
        standing = self.reader.machine(name)
        if standing is None:
            return None
        identity = standing["identity"]
        verdicts = self.reader.history("verdicts", identity, 50)
        alerts = [r for r in self.reader.alerts(limit=ALL).rows if r["subject"] == identity]
        return {
            "m": standing,
            "verdicts": verdicts,
            "history": self.history(verdicts, standing["family"]),
            "alerts": [self.alert_row(r) for r in ranked(alerts)],
            "floor": self.floor_of(standing["family"]),
        }

    def history(self, verdicts: Sequence[Record], family: str | None) -> dict[str, Any]:
        """Standing as bands, and SNP firmware as steps against its floor."""
        old_first = [r.event for r in reversed(verdicts)]
        bands = charts.bands([(e.data["received"], e.data["tier"]) for e in old_first])
        tcbs = [e.data["claims"]["tcb"] for e in old_first if e.data["claims"]]
        values = [t["reported.snp"] for t in tcbs if "reported.snp" in t]
        floor = floors.short_of(tcbs[-1], self.floor_of(family)) if tcbs else None
        return {
            "bands": bands,
            "share": charts.share([(b.tier, b.count) for b in bands]),
            "steps": charts.steps(values, floor),
            "values": values,
            "floor": floor,
        }

    def floor_of(self, family: str | None) -> Row | None:
        """The floor in force for a family, as data."""
        return next((r["floor"] for r in self.reader.floors() if family_of(r) == family), None)

    def evidence(self, id: str) -> dict[str, Any] | None:
        """One piece of evidence explained, by its id or its verdict's."""
        record = self.reader.event(id)
        if record is not None and record.topic == "evidence":
            record = self.reader.event(derived_id("verdict", record.event.id))
        if record is None or record.topic != "verdicts":
            return None
        v = record.event.data
        raw = self.reader.blob(BlobId(v["blob"])) or b""
        found = explain.read(raw, v["format"])
        reasons = [{**r, "place": explain.place(found, r, v["format"])} for r in alike(v["reasons"])]
        index = {f.name: i for i, f in enumerate(found)}
        standing = self.reader.machine(record.event.subject)
        verdicts = self.reader.history("verdicts", record.event.subject, 50)
        return {
            "event": record.event,
            "v": v,
            "raw": raw,
            "reasons": reasons,
            "index": index,
            "claims": explain.claims(found, v["reasons"], v["format"]),
            "causes": {index[r["place"].name] for r in reasons if r["place"]},
            "fields": found,
            "lines": explain.lines(raw, found) if found else explain.dump(raw),
            "m": standing,
            "verdicts": verdicts,
            "history": self.history(verdicts, v["family"]),
        }

    def latest(self) -> list[Record]:
        """Verdicts, newest first."""
        return list(islice(self.reader.search("topic:verdicts", limit=MOST), MOST))

    def policy(self) -> dict[str, Any]:
        """Proposals and the floors in force."""
        every = [proposal(p) for p in self.reader.proposals()]
        return {
            "waiting": [p for p in every if p["state"] == "proposed"],
            "others": [p for p in every if p["state"] != "proposed"][:MOST],
            "floors": self.floors(),
        }

    def floors(self) -> list[dict[str, Any]]:
        """Floors in force; one that is looser for a time says until when."""
        until = {proposal(p)["id"]: p.get("expires") for p in self.reader.proposals()}
        return [
            {
                **row,
                "family": family_of(row),
                "brief": floors.brief(row["floor"]),
                "source": floors.source(row["floor"]),
                "rows": floors.rows(row["floor"]),
                "until": until.get(str(row["proposal"])),
            }
            for row in self.reader.floors()
        ]

    def proposal(self, id: str) -> dict[str, Any] | None:
        """One proposal with its impact radius, by id or a prefix of it that only one has."""
        found = [p for p in self.reader.proposals() if proposal(p)["id"].startswith(id)]
        return proposal(found[0]) if len(found) == 1 else None

    def letters(self, after: str | None) -> dict[str, Any]:
        """What could not be an event."""
        page = self.reader.dead_letters(after=after, limit=MOST)
        return {"rows": page.rows, "after": page.after}

    def letter(self, id: str) -> dict[str, Any] | None:
        """One dead letter with its bytes."""
        record = self.reader.event(id)
        if record is None or record.topic != "dead-letters":
            return None
        blob = record.event.data.get("blob")
        raw = self.reader.blob(BlobId(blob)) if blob else None
        return {"event": record.event, "d": record.event.data, "raw": raw, "lines": explain.dump(raw or b"")}


def alike(reasons: Sequence[Json]) -> list[Json]:
    """Reasons that differ in their component alone, as one with all of them in `components`; in order."""
    merged: dict[Any, dict[str, Json]] = {}
    for reason in reasons:
        if not isinstance(reason, Mapping):
            merged.setdefault(reason, {"code": reason})
            continue
        same = tuple(phrases.say(reason[name]) for name in ("code", "got", "want", "source", "remedy"))
        first = merged.setdefault(same, {**reason, "components": []})
        if reason["component"] not in first["components"]:
            first["components"].append(reason["component"])
    return [r if "components" in r else r["code"] for r in merged.values()]


def own_first(reasons: Sequence[Json], rule: str) -> list[Json]:
    """The reasons of an alert, those that its rule is named after before what else its evidence lacked."""
    code = rule.replace("-", "_")
    return sorted(reasons, key=lambda r: (r["code"] if isinstance(r, Mapping) else r) != code)


def ranked(rows: Iterable[Row]) -> list[Row]:
    """Worst first, then open before acknowledged before resolved, then newest."""
    order = {level: i for i, level in enumerate(phrases.LEVELS)}
    status = {word: i for i, word in enumerate(phrases.STATUSES)}
    newest = sorted(rows, key=lambda r: str(r["updated"]), reverse=True)
    return sorted(
        newest, key=lambda r: (status.get(r["status"], 9) == 2, order.get(r["level"], 9), status.get(r["status"], 9))
    )


def family_of(row: Row) -> str:
    """The family that a row of floors is about."""
    return str(row.get("family") or row["floor"]["family"])


def proposal(row: Row) -> dict[str, Any]:
    """A row of proposals made flat: the proposal's own data, its rollout, and its effect in numbers."""
    inner = row["proposal"]
    data: Row = inner if isinstance(inner, Mapping) else row
    impact = data["impact"]
    refused, already, unknown = impact["refused"], _number(impact["already_refused"]), _number(impact["unknown"])
    stay = max(0, impact["considered"] - len(refused) - already - unknown)
    parts = [("affirming", stay), ("contraindicated", len(refused)), ("warning", already), ("none", unknown)]
    return {
        **data,
        "id": str(data["proposal"]),
        "state": row.get("state") or "proposed",
        "approvals": row.get("approvals") or [],
        "history": row.get("history") or [],
        "receipts": row.get("receipts") or {},
        "quorum": row.get("quorum"),
        "expires": row.get("expires"),
        "pushes": row.get("pushes"),
        **_what_changes(data),
        "refused": refused,
        "already": already,
        "unknown": unknown,
        "stay": stay,
        "share": charts.share(parts),
        "regions": charts.bars(Counter(str(r.get("region") or "no region") for r in refused)),
    }


def _what_changes(data: Row) -> dict[str, Any]:
    """The title of a proposal, its source and its changes, component by component."""
    if data["floor"] is None:
        first, *others = data["diff"] or ["nothing that judges"]
        more = f" and {len(others)} more" if others else ""
        found = floors.policy_changes(data["diff"])
        return {"title": f"Policy: {first}{more}", "source": "the configuration", "changes": found}
    return {
        "title": floors.title(data["family"], data["before"], data["floor"]),
        "source": floors.source(data["floor"]),
        "changes": floors.changes(data["before"], data["floor"]),
    }


def _number(value: Json) -> int:
    return len(value) if isinstance(value, Sequence | Mapping) else int(value)


def _fits(row: Row, chosen: Mapping[str, str | None]) -> bool:
    return all(value is None or row[name] == value for name, value in chosen.items())


def _facet(rows: Iterable[Row], name: str, chosen: Mapping[str, str | None]) -> list[tuple[str, int]]:
    others = {n: v for n, v in chosen.items() if n != name}
    counted = Counter(str(r[name]) for r in rows if _fits(r, others))
    order = {"status": phrases.STATUSES, "level": phrases.LEVELS}.get(name)
    if order:
        return [(value, counted[value]) for value in order if counted[value] or chosen[name] == value]
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))
