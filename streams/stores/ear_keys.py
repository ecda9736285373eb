"""The keys that sign EARs: files of the data directory, for their owner alone, rotated by age or by command.

`keys/ear/<seconds since 1970>-<key id>.pem`, PKCS #8, mode 0600; the name says since when the key is published. A new
key is published `PUBLISHED_FIRST` before it signs, so that whoever caches the JWKS has it by then; the one before it is
published until the last token that it signed has expired. A key that leaked is replaced at once (`replace_all`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ratchet.ear import MAX_LIFE, jwk
from ratchet.event import Json
from ratchet.ports import Unreachable
from streams.stores.durable import create_once, sync_folder
from streams.stores.keys import BundleKey, private_pem

PUBLISHED_FIRST = timedelta(hours=1)
"""How long a new key is published before it signs; a JWKS may be cached for a quarter of that."""

MAX_AGE = timedelta(days=30)
"""After which a key gets a successor."""

CACHED = int(PUBLISHED_FIRST.total_seconds()) // 4
"""Seconds for which a JWKS may be cached."""

_FILE = re.compile(r"([0-9]{1,12})-ratchet-[0-9a-f]{16}\.pem")


@dataclass(frozen=True, slots=True)
class _Key:
    since: datetime
    path: Path
    pair: BundleKey


class EarKeys:
    """The keys of one data directory, read anew each time: another process may have rotated them.

    Args:
        folder: `keys/ear` of a data directory; made where there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def signer(self, at: datetime) -> BundleKey:
        """The key that signs at `at`; the first is made here, and signs at once.

        Raises:
            Unreachable: a key cannot be read or made, is none, or others may read it.
        """
        keys = self._keys() or [self._make(at)]
        ready = [one for one in keys if one.since + PUBLISHED_FIRST <= at]
        return (ready[-1] if ready else keys[0]).pair

    def jwks(self, at: datetime) -> dict[str, Json]:
        """The keys whose tokens are to be believed at `at`, as a JWKS (RFC 7517, 5).

        Raises:
            Unreachable: see `signer`.
        """
        keys = self._keys() or [self._make(at)]
        return {"keys": [jwk(one.pair.public, one.pair.id) for one in self._published(keys, at)]}

    def rotate(self, at: datetime) -> str:
        """Publish a new key, which signs `PUBLISHED_FIRST` from now; drop those whose tokens have all expired.

        Returns:
            The new key's id.
        """
        keys = self._keys()
        new = self._make(at)
        self._drop(set(keys) - set(self._published([*keys, new], at)))
        return new.pair.id

    def replace_all(self, at: datetime) -> str:
        """One new key in the place of all others, at once: tokens that those signed are believed no more."""
        keys = self._keys()
        new = self._make(at)
        self._drop(set(keys))
        return new.pair.id

    def keep_young(self, at: datetime) -> bool:
        """Rotate where the newest key is older than `MAX_AGE`, and drop what is over. Whether anything changed."""
        keys = self._keys()
        if not keys or keys[-1].since + MAX_AGE <= at:
            self.rotate(at)
            return True
        over = set(keys) - set(self._published(keys, at))
        self._drop(over)
        return bool(over)

    def _published(self, keys: list[_Key], at: datetime) -> list[_Key]:
        """A key is over once its successor has signed for as long as a token may live."""
        last = timedelta(seconds=MAX_LIFE)
        over = [one for one, successor in pairwise(keys) if successor.since + PUBLISHED_FIRST + last <= at]
        return [one for one in keys if one not in over]

    def _keys(self) -> list[_Key]:
        """By age, the oldest first."""
        try:
            names = sorted(os.listdir(self._folder)) if self._folder.is_dir() else []
            found = [(name, match) for name in names if (match := _FILE.fullmatch(name))]
            keys = [
                _Key(
                    datetime.fromtimestamp(int(match[1]), UTC), self._folder / name, BundleKey.read(self._folder / name)
                )
                for name, match in found
            ]
        except (OSError, OverflowError) as why:
            raise Unreachable(str(self._folder), str(why)) from why
        return sorted(keys, key=lambda one: (one.since, one.pair.id))

    def _make(self, at: datetime) -> _Key:
        pair = ec.generate_private_key(ec.SECP256R1())
        key = BundleKey(pair)
        path = self._folder / f"{int(at.timestamp())}-{key.id}.pem"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_once(path, private_pem(pair), 0o600)
        except OSError as why:
            raise Unreachable(str(path), str(why)) from why
        # Another process may have made the first at the same moment: then both are published, and the older signs.
        return _Key(datetime.fromtimestamp(int(at.timestamp()), UTC), path, key)

    def _drop(self, keys: set[_Key]) -> None:
        for one in keys:
            one.path.unlink(missing_ok=True)
        if keys:
            sync_folder(self._folder)
