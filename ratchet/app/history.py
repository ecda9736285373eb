"""Whether a data directory has the history that it gave outward: not an older copy, nor one that somebody made. Not a
command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing

from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home

_TAIL = 1 << 20
"""Bytes of the alerts' file that are looked at, from its end."""


def sound(place: Home) -> None:
    """Recompute the hash chain of the database, and everything that it covers.

    Raises:
        Fault: something was changed since it was written.
    """
    from streams.integrity import check

    wrong = check(place.database_path)
    if wrong:
        raise Fault(
            "corrupt",
            f"{place.database_path}: {wrong[0]}",
            "find out who or what wrote there; restore the data directory from a copy",
            Exit.REFUSED,
            tuple(wrong[1:20]),
        )


def given(place: Home, heads: Sequence[str]) -> str:
    """Compare the chain with the heads that commits, alerts and the command line name; how many were compared.

    Args:
        heads: as webhooks and copies of the Git store elsewhere have them.

    Raises:
        Fault: one is not of this history; or a head is none.
    """
    from streams import chain
    from streams.sqlite_file import connect

    compared = older = 0
    with closing(connect(place.database_path, read_only=True)) as connection:
        for where, text in (*(("--head", one) for one in heads), *_kept(place)):
            try:
                head = chain.Head.parse(text)
            except ValueError as error:
                raise Fault("bad-head", f"{where}: {error}", "copy it whole: round:hash") from error
            if not chain.comparable(connection, head):
                older += 1
                continue
            wrong = chain.compare(connection, head)
            if wrong is not None:
                raise Fault(
                    "other-history",
                    f"{where}: {wrong}",
                    "bring back the newest copy, and find out who replaced it: what came after is missing here",
                    Exit.REFUSED,
                )
            compared += 1
        newest = chain.head(connection)
    before = f", {older} are from before what is kept" if older else ""
    return f"{newest or 'no round yet'}; {compared} heads that were given outward are of this history{before}"


def _kept(place: Home) -> Iterator[tuple[str, str]]:
    """Heads beside the database: in the Git store's commits and in the alerts' file."""
    from streams.stores import repository

    store = repository(place.path)
    yield from ((f"store {store.name}", head) for head in store.heads())
    name = place.config.alerts.ndjson
    file = place.below(name) if name else None
    if file is not None and file.is_file():
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _TAIL))
            lines = opened.read().splitlines()
        for line in reversed(lines):
            try:
                head = json.loads(line)["attestation"]["head"]
            except (ValueError, KeyError, TypeError):
                continue
            yield f"the last alert in {file.name}", str(head)
            return
