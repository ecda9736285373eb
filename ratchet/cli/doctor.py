"""Check the data directory, its configuration, and what it reaches: each thing with what is wrong and what to do."""

from __future__ import annotations

import argparse
import importlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime

from ratchet.app import composition, history
from ratchet.app.decisions import awake
from ratchet.app.errors import Exit, Fault
from ratchet.app.home import Home, home
from ratchet.app.output import plain, print_json
from ratchet.event import stamp
from ratchet.ports import Unreachable

EPILOG = """Example: ratchet doctor --data /var/lib/ratchet
It changes nothing.
Exit: 0 all well, 4 something is wrong."""

_PARTS = (
    "cryptography",
    "pydantic",
    "rfc8785",
    "yaml",
    "sigma",
    "starlette",
    "uvicorn",
    "jinja2",
    "dulwich",
    "wasmtime",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        metavar="ROUND:HASH",
        help="a head of the hash chain that was given outward (webhook, Git trailer): is it of this history?",
    )


def run(args: argparse.Namespace) -> int:
    """Check everything; one thing that is wrong does not hide another."""
    place = home(args)
    wrong = 0
    checks = _CHECKS | {"history": lambda where: _history(where, args.head)}
    for name, check in checks.items():
        detail: tuple[str, ...] = ()
        try:
            well, said = True, check(place)
        except Fault as fault:
            well, said, detail = False, f"{fault.what}; {fault.next}", fault.detail
        except Exception as error:  # a check must not keep the others from running
            well, said = False, f"{type(error).__name__}: {error}"
        wrong += not well
        if args.json:
            print_json({"check": name, "well": well, "said": said, "detail": list(detail)})
        else:
            print(f"{'ok   ' if well else 'WRONG'} {name:<14} {said}")
            for line in detail:
                print(f"        {plain(line)}")
    return Exit.REFUSED if wrong else Exit.DONE


def _libraries(_: Home) -> str:
    for part in _PARTS:
        importlib.import_module(part)
    return f"{len(_PARTS)} libraries load"


def _directory(place: Home) -> str:
    if not place.path.is_dir():
        raise Fault("no-data", f"there is no {place.path}", "`ratchet up` makes it")
    place.guard()
    free = shutil.disk_usage(place.path).free
    if free < 1 << 30:
        raise Fault("disk", f"only {free >> 20} MiB are free", "make room: evidence is refused once the disk is full")
    return f"{place.path}, {free >> 30} GiB free"


def _configuration(place: Home) -> str:
    file = place.path / "ratchet.toml"
    return f"tenant {place.config.tenant}, from {file if file.is_file() else 'defaults'}"


def _roots(place: Home) -> str:
    found = composition.roots(place)
    simulated = sum(root.simulated for root in found)
    return ", ".join(root.name for root in found if not root.simulated) + (
        f" and {simulated} simulated" * (simulated > 0)
    )


def _policy(place: Home) -> str:
    return f"{composition.policy(place).name}, hash {composition.policy(place).hash[:12]}"


def _rules(place: Home) -> str:
    return f"{len(composition.rules(place))} rules can run"


def _database(place: Home) -> str:
    _there(place)
    history.sound(place)
    counts = place.reader().counts()
    return f"sound; {counts.get('events', 0)} events, {counts.get('dead_letters', 0)} dead letters"


def _history(place: Home, heads: Sequence[str]) -> str:
    _there(place)
    return history.given(place, heads)


def _there(place: Home) -> None:
    if not place.database_path.is_file():
        raise Fault("no-data", f"there is no {place.database_path}", "`ratchet up` makes it")
    from streams.sqlite_file import BadDatabase, check_version

    try:
        check_version(place.database_path)
    except BadDatabase as error:
        raise Fault("database", str(error), "choose another data directory with --data", Exit.UNREACHABLE) from error


def _collateral(place: Home) -> str:
    from ratchet.app.collateral_health import health, judged_at

    _there(place)
    reader = place.reader()
    at = judged_at(reader, datetime.now(UTC), simulated=(place.path / "demo").is_file())
    found = health(reader, composition.known_collateral(place, composition.roots(place)), at)
    if found.troubles:
        number = len(found.troubles)
        raise Fault(
            "collateral",
            f"{number} vendor {'document is' if number == 1 else 'documents are'} missing or out of date",
            f"fetch {'it' if number == 1 else 'them'}, then `ratchet ingest` {'it' if number == 1 else 'them'}",
            Exit.REFUSED,
            tuple(trouble.line() for trouble in found.troubles),
        )
    if not found.senders:
        return "no evidence asked for any yet"
    first = (
        f"; the first to end is one of {plain(found.ends[1])}, on {stamp(found.ends[0])[:19]}Z" if found.ends else ""
    )
    return f"nothing is missing or out of date for {found.senders} machines and senders{first}"


def _pipeline(place: Home) -> str:
    _there(place)
    reader = place.reader()
    ticks = reader.history("ticks", "0", 1)
    last = f"last tick {stamp(ticks[0].event.time)[:19]}Z" if ticks else "no tick yet"
    return f"{'runs' if awake(reader) else 'does not run: `ratchet up` starts it'}; {last}"


def _stores(place: Home) -> str:
    if not place.database_path.is_file():
        return "nothing was written yet"
    key = place.path / "keys" / "bundle.pem"
    if not key.is_file():
        raise Fault("store", f"{key} is gone: nothing signs policies", "bring it back; `ratchet up` makes another")
    with closing(place.database()) as database:
        pushed = database.state("push")
    lines = []
    for store in composition.stores(place):
        left = pushed.get(f"store/{store.name}") or {"revision": None, "drift": None}
        away = pushed.get(f"away/{store.name}")
        try:
            drift = store.check(left["revision"])
        except Unreachable as error:
            raise Fault("store", str(error), "look at that server") from error
        if drift is not None:
            raise Fault("drift", f"{store.name}: {drift.detail}", "docs/stores.md says how to bring it back")
        if left["drift"] is not None or away is not None:
            why = (left["drift"] or {}).get("detail") or (away or {}).get("why")
            raise Fault("drift", f"{store.name}: {why}", "`ratchet alerts` has more; the next ticks look again")
        lines.append(f"{store.name} at {left['revision'][:8]}" if left["revision"] else f"{store.name}, empty yet")
    return ", ".join(lines)


def _notifiers(place: Home) -> str:
    names = [one.name for one in composition.notifiers(place)]
    if not place.database_path.is_file():
        return ", ".join(names) or "nobody"
    lines = []
    for row in place.reader().notifiers():
        if row["name"] in names and row["failures"]:
            raise Fault(
                "silent",
                f"{row['name']} took nothing since {row['since'][:19]}Z ({row['failures']} tries): {row['error']}",
                "it is tried again by itself; nothing is lost meanwhile",
            )
        if row["name"] in names:
            lines.append(f"{row['name']} took {row['sent']}" + f", refused {row['refused']}" * bool(row["refused"]))
    return ", ".join(lines) or ", ".join(names) or "nobody is told of alerts: see [alerts]"


def _entrance(place: Home) -> str:
    table = place.config.entrance
    return f"{table.listen}, " + (", ".join(sorted(table.senders)) or "nobody") + " may send"


_CHECKS: dict[str, Callable[[Home], str]] = {
    "libraries": _libraries,
    "directory": _directory,
    "configuration": _configuration,
    "roots": _roots,
    "policy": _policy,
    "rules": _rules,
    "database": _database,
    "collateral": _collateral,
    "pipeline": _pipeline,
    "stores": _stores,
    "notifiers": _notifiers,
    "entrance": _entrance,
}
