"""Proposals in words, for a terminal: what changes, whom it refuses, what waits for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ratchet.app.errors import Exit, Fault
from ratchet.app.floor_text import provenance, summary
from ratchet.app.output import begins, plain, shown
from ratchet.event import Json
from ratchet.rollout.advance import State


def explanation(row: Mapping[str, Json]) -> str:
    """Why it came as it did; that it waits is said only while it does."""
    text = str(row["proposal"]["why"])
    waits, _, effect = text.partition(": ")
    return effect if effect and waits.startswith("waits for") and row["state"] != State.PROPOSED else text


def _what_changes(said: Mapping[str, Json]) -> list[str]:
    """From what to what, and where that was read."""
    way = "tighter" if said["tightening"] else "LOOSER"
    if said["floor"] is None:
        first = f"policy    {way}, by the configuration"
        return [first, *(f"  {plain(one)}" for one in said["diff"] or ("nothing that judges",))]
    return [
        f"from      {summary(said['before'])}",
        f"to        {summary(said['floor'])}   {way}, {'exact' if said['exact'] else 'reviewed'}",
        f"source    {provenance(said['floor']['provenance'])}",
    ]


def find(rows: Sequence[Mapping[str, Json]], wanted: str) -> Mapping[str, Json]:
    """The proposal that an id or its beginning names.

    Raises:
        Fault: none or several.
    """
    found = [row for row in rows if begins(row["proposal"]["proposal"], wanted)]
    if len(found) != 1 or len(wanted) < 6:
        why = "is no proposal" if not found else f"begins {len(found)} proposals" if len(found) > 1 else "is too short"
        raise Fault("no-proposal", f"{wanted!r} {why}", "`ratchet proposals --json` has whole ids", Exit.USAGE)
    return found[0]


def describe(row: Mapping[str, Json]) -> str:
    """One proposal for people: what changes, whom it would refuse, what waits for what."""
    said = row["proposal"]
    impact = said["impact"]
    lines = [
        f"proposal  {said['proposal']}",
        f"state     {row['state']}   ({explanation(row)})",
        *([f"until     {row['expires'][:19]}Z: then what it loosens returns"] if row["expires"] else []),
        f"family    {said['family']}",
        *_what_changes(said),
        f"refuses   {len(impact['refused'])} of {impact['considered']} guests now accepted; "
        f"{impact['already_refused']} are refused already, {impact['unknown']} cannot be told",
        f"admits    {len(impact.get('admitted', ()))} more; {len(impact.get('unseen', ()))} were not seen lately",
        f"signs     {said['hash']}, pushing the whole policy {row.get('pushes') or '(nothing waits for approval)'}",
    ]
    lines += [
        f"  {plain(one['hint']):<24} {plain(one['region'] or '-'):<12} "
        + "; ".join(f"{why['component']} {shown(why['got'])}, needs {shown(why['want'])}" for why in one["why"])
        for one in impact["refused"]
    ]
    quorum = row.get("quorum") or 1
    if row["state"] == "proposed" and quorum > 1:
        lines.append(f"approvals {len(row['approvals'])} of {quorum}")
    lines += [f"approval  {one['by']}: {plain(one.get('comment') or '')}" for one in row["approvals"]]
    lines += [
        " ".join(
            (f"{step['at'][:19]}  {step['state']:<11}", plain(step["by"] or ""), plain(step["comment"] or ""))
        ).rstrip()
        for step in row["history"]
    ]
    lines += [
        f"receipt   {store}: {receipt['outcome']} at {receipt['revision']}: {plain(receipt['detail'])}"
        for store, receipt in sorted(row["receipts"].items())
    ]
    # What somebody wrote into a floors file or sent as a name must not look like a line of ours to an approver.
    return "\n".join(map(plain, lines))
