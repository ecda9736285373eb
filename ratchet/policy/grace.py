"""Grace: for how long a TCB level that went out of date is still good enough.

A rule names a status, a number of days, families, and the advisories for which it is not. The days are counted from the
TCB recovery that put the level out of date: the tcbDate of the next level above it in the vendor's list
(`ratchet.collateral.tcb.superseded_at`), never from when we heard of it. Where several rules match, the longest holds.

Signed TCB infos name advisories, and no severity (PCS API v4, "Get TCB info"). So what is too severe for grace is said
by `unless`: advisories that Intel rated high, as the operator reads them.

Within grace `OutOfDate` counts as `UpToDate`, and `OutOfDateConfigurationNeeded` as `ConfigurationNeeded`, which the
policy's `accept` then judges. Nothing is believed beyond the end of a grace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ratchet.event import Json

IN_GRACE: Mapping[str, str] = {
    "OutOfDate": "UpToDate",
    "OutOfDateConfigurationNeeded": "ConfigurationNeeded",
}
"""Status -> what it counts as within grace. No other status has any."""


class GivenGrace(BaseModel):
    """The types of a rule as people write it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    status: Literal["OutOfDate", "OutOfDateConfigurationNeeded"]
    days: Annotated[int, Field(ge=1, le=3650)]
    family: str = "*"
    unless: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Grace:
    """One rule.

    Attributes:
        status: `OutOfDate` or `OutOfDateConfigurationNeeded`.
        days: from the TCB recovery on.
        family: of which machines; `*` stands for any characters: `tdx/*`, `sgx/00606a000000`.
        unless: advisories with any of which the level has no grace.
    """

    status: str
    days: int
    family: str = "*"
    unless: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Json]:
        """As JSON."""
        return {"status": self.status, "days": self.days, "family": self.family, "unless": list(self.unless)}

    @classmethod
    def from_data(cls, data: Mapping[str, Json]) -> Self:
        """The inverse of `to_data`; what is left out has its default."""
        return cls(**{**data, "unless": tuple(data.get("unless", ()))})


def ends(
    rules: Iterable[Grace], family: str, status: str, advisories: tuple[str, ...] | None, superseded: datetime | None
) -> datetime | None:
    """When the grace of a level ends; None where it has none.

    Args:
        rules: of the policy.
        family: of the machine.
        status: merged, as in `TcbStatus.merged`.
        advisories: of the level; None: not known, and then a rule with `unless` does not hold.
        superseded: since when it is out of date; None: not known, so there is nothing to count from.
    """
    if superseded is None or status not in IN_GRACE:
        return None
    found = [
        superseded + timedelta(days=rule.days)
        for rule in rules
        if rule.status == status
        and fnmatchcase(family, rule.family)
        and (not rule.unless or (advisories is not None and not {*rule.unless} & {*advisories}))
    ]
    return max(found, default=None)
