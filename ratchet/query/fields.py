"""Where the values of a field are: in a record of the log, for the search language; in a flat event, for Sigma."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ratchet.event import Event, Json, stamp
from ratchet.ports import Record

ATTRIBUTES = ("id", "topic", "type", "source", "subject", "tenant", "time")
"""Fields that are an event's own; every other name is looked for in its data."""

SEARCHED = ("id", "type", "source", "subject")
"""Attributes that words without a field are looked for in, beside all data."""

Leaves = tuple[tuple[str, Json], ...]
"""Names and values of an event's data, as `leaves` gives them."""


def leaves(data: Json) -> Iterator[tuple[str, Json]]:
    """Every value that is no object and no list, with its name: keys joined by dots; places in lists do not count."""
    waiting: list[tuple[str, Json]] = [("", data)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{key}" if name else str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(name, inner) for inner in value]
        else:
            yield name, value


@dataclass(frozen=True, slots=True)
class FlatRecord:
    """A record with its data flattened once, for a tree that asks for several fields."""

    topic: str
    event: Event
    data: Leaves

    @classmethod
    def of(cls, record: Record) -> FlatRecord:
        """Flatten the record's data."""
        return cls(record.topic, record.event, tuple(leaves(record.event.data)))


def of_record(record: FlatRecord, field: str | None) -> Iterable[Json]:
    """Values of a field of a record; None: all values that words without a field are looked for in."""
    match field:
        case None:
            attributes: list[Json] = [getattr(record.event, name) for name in SEARCHED]
            return attributes + [value for _, value in record.data]
        case "topic":
            return (record.topic,)
        case "time":
            return (stamp(record.event.time),)
        case "id" | "type" | "source" | "subject" | "tenant":
            return (str(getattr(record.event, field)),)
        case _:
            return [value for name, value in record.data if name == field]


def of_flat_event(event: Mapping[str, Json], field: str | None) -> Iterable[Json]:
    """Values of a field of a flat event, in which a value is a scalar or a list; None: all values.

    A field that is null, or an empty list, has none.
    """
    if field is None:
        return [value for name in event for value in of_flat_event(event, name)]
    value = event.get(field)
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        # A list of nothing but nulls is there, as it always was to Sigma's `exists`: it stands as one value.
        return (value,) if value and all(one is None for one in value) else value
    return (value,)
