"""Where the data that ships with Ratchet lies: in the wheel, or in the checkout. The one place that knows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]


def folder(name: str) -> Traversable:
    """A folder of data by its name at the top of the checkout, such as `rules`.

    In the wheel it is `ratchet/_<name>` (pyproject.toml, force-include), which an installed Ratchet must have; a
    checkout has none, and its own folder is taken.

    Raises:
        FileNotFoundError: it is in neither: the installation is damaged.
    """
    packed = resources.files("ratchet").joinpath(f"_{name}")
    if packed.is_dir():
        return packed
    beside = _CHECKOUT / name
    if beside.is_dir() and (_CHECKOUT / "pyproject.toml").is_file():
        return beside
    raise FileNotFoundError(f"no {name} in the package or beside it: install ratchet-attest again")


def rules() -> Mapping[str, str]:
    """The rules that ship, with their cases: `rules/<service>/<file>` -> text, for `ratchet.detect.sigma.load`."""
    return dict(_texts(folder("rules"), "rules"))


def _texts(at: Traversable, path: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for entry in sorted(at.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            found += _texts(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".yml"):
            found.append((f"{path}/{entry.name}", entry.read_text(encoding="utf-8")))
    return found
