"""Live: tells open pages which topics of the log changed. It carries no data; pages fetch their own address again.

Server-sent events (HTML standard, "Server-sent events"). The log is looked at about four times a second, by one task
however many listen, and only while somebody does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from ratchet.ports import Reader

PERIOD = 0.25
"""Seconds between looks at the log."""

ALIVE = 15.0
"""Seconds after which a quiet stream says that it lives, so that a dead connection is noticed."""

LIFE = 3600.0
"""Seconds after which a stream ends: the browser connects again and the guard looks at its session again."""

MOST = 200
"""Listeners at once; more are told to come back later."""

MOST_EACH = 8
"""Of them for one session: each open page has one, and a browser opens six connections to one place at most."""

_BATCH = 1000


class Changes:
    """Follows the log for all who listen."""

    def __init__(self, reader: Reader, period: float = PERIOD) -> None:
        """Looks at nothing before somebody listens."""
        self._reader, self._period = reader, period
        self._offset = 0
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None

    def full(self, owner: object = None) -> bool:
        """No more may listen now, or none of this session's."""
        mine = sum(one.owner is owner for one in self._listeners) if owner is not None else 0
        return len(self._listeners) >= MOST or mine >= MOST_EACH

    def end(self, owner: object) -> None:
        """End the streams of a session: who has signed out is told nothing more."""
        for one in self._listeners:
            if one.owner is owner:
                one.close()

    @property
    def watching(self) -> bool:
        """Is the log being looked at?"""
        return self._task is not None and not self._task.done()

    async def stream(self, owner: object = None, life: float = LIFE) -> AsyncGenerator[bytes, None]:
        """What one browser receives: an event with the topics that changed, since it began.

        Args:
            owner: the session whose stream it is; it ends with it.
            life: seconds until it ends by itself.
        """
        me = _Listener(owner)
        if not self.watching:
            self._offset = self._reader.head()
            self._task = asyncio.create_task(self._watch())
        self._listeners.add(me)
        try:
            yield b"retry: 1000\n\n"
            end = asyncio.get_running_loop().time() + min(life, LIFE)
            while asyncio.get_running_loop().time() < end:
                topics = await me.next(max(0.0, min(ALIVE, end - asyncio.get_running_loop().time())))
                if topics is None:
                    return
                yield f"event: change\ndata: {json.dumps(topics)}\n\n".encode() if topics else b": alive\n\n"
        finally:
            self._listeners.discard(me)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _watch(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._period)
                records = self._reader.since(self._offset, _BATCH)
                if records:
                    self._offset = records[-1].offset
                    topics = {r.topic for r in records}
                    for one in self._listeners:
                        one.tell(topics)
        finally:
            # Whatever ends the watch ends the streams; browsers then connect again, to a fresh one.
            for one in self._listeners:
                one.close()


class _Listener:
    """What one stream has yet to be told: topics, each once, however slowly it reads."""

    def __init__(self, owner: object) -> None:
        self.owner = owner
        self._topics: set[str] = set()
        self._closed = False
        self._wake = asyncio.Event()

    def tell(self, topics: set[str]) -> None:
        self._topics |= topics
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def next(self, patience: float) -> list[str] | None:
        """Topics that changed; none when nothing did within `patience` seconds; None when the stream is over."""
        try:
            await asyncio.wait_for(self._wake.wait(), patience)
        except TimeoutError:
            return []
        if self._closed:
            return None
        self._wake.clear()
        topics, self._topics = sorted(self._topics), set()
        return topics
