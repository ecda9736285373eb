"""Patterns with `*` (any text) and `?` (one character), matched without backtracking.

`*` takes the leftmost places, `?` is matched by bit-parallel search (R. Baeza-Yates, G. Gonnet, "A New Approach to
Text Searching", CACM 1992), so that time is linear in the text, whatever the pattern and the text are.
"""

from __future__ import annotations

from collections.abc import Callable

Part = tuple[str | None, ...]
"""Characters of a pattern between two `*`; None is a `?`."""

Pattern = tuple[Part, ...]
"""The parts of a pattern in order, with a `*` between each two; one part: no `*`."""


def plain(pattern: Pattern) -> str | None:
    """The text of a pattern without wildcards; None where it has any."""
    if len(pattern) != 1 or None in pattern[0]:
        return None
    return _text(pattern[0])


def anywhere(pattern: Pattern) -> Pattern:
    """The pattern with a `*` before and after it."""
    return ((), *pattern, ())


def cost(pattern: Pattern) -> int:
    """About how often each character of a text is looked at, in units of a search for plain text."""
    marked = [len(part) for part in pattern if None in part]
    return 1 + len(pattern) // 64 + (8 + max(marked) // 16 if marked else 0)


def compile(pattern: Pattern) -> Callable[[str], bool]:
    """The pattern as a test of whole texts."""
    if (whole := plain(pattern)) is not None:
        return lambda text: text == whole
    first, last = pattern[0], pattern[-1]
    if len(pattern) == 1:
        begins, width = _begins(first), len(first)
        return lambda text: len(text) == width and begins(text, 0)
    begins, ends = _begins(first), _begins(last)
    searches = [(_search(part), len(part)) for part in pattern[1:-1]]

    def matches(text: str) -> bool:
        place, end = len(first), len(text) - len(last)
        if place > end or not begins(text, 0) or not ends(text, end):
            return False
        # The leftmost place of each part leaves the most text to the parts after it.
        for search, width in searches:
            found = search(text, place, end)
            if found < 0:
                return False
            place = found + width
        return True

    return matches


def _text(part: Part) -> str:
    return "".join(char for char in part if char is not None)


def _begins(part: Part) -> Callable[[str, int], bool]:
    """A function (text, place) -> whether the part is there; the text is long enough."""
    if None not in part:
        literal = _text(part)
        return lambda text, place: text.startswith(literal, place)
    return lambda text, place: all(char is None or char == text[place + i] for i, char in enumerate(part))


def _search(part: Part) -> Callable[[str, int, int], int]:
    """A function (text, start, end) -> leftmost place of the part, or -1."""
    if None not in part:
        literal = _text(part)
        return lambda text, start, end: text.find(literal, start, end)
    width, anything = len(part), 0
    places: dict[str, int] = {}
    for i, char in enumerate(part):
        if char is None:
            anything |= 1 << i
        else:
            places[char] = places.get(char, 0) | 1 << i
    whole = 1 << (width - 1)

    def search(text: str, start: int, end: int) -> int:
        # Bit i of `found` says: the first i + 1 characters of the part end here.
        found = 0
        for at in range(start, end):
            found = ((found << 1) | 1) & (places.get(text[at], 0) | anything)
            if found & whole:
                return at - width + 1
        return -1

    return search
