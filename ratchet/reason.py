"""Reasons: why something is not as good as it could be, in a form that people act on and rules key on."""

from __future__ import annotations

from typing import NamedTuple

from ratchet.event import Json


class Reason(NamedTuple):
    """One shortfall, named so that a person can act and a rule can match.

    Attributes:
        code: stable, `snake_case`; listed with its meaning in docs/reasons.md (a test keeps the two equal).
        component: what it is about: `snp`, `pck`, `tcb_info`, `measurement`, a proof step.
        got: the value seen; None where the evidence does not attest it.
        want: the value required, or a phrase for it.
        source: the document's hash and place in it, or the specification and section.
        remedy: what to do next, imperative; empty where nothing can be done.
    """

    code: str
    component: str
    got: Json
    want: Json
    source: str
    remedy: str = ""

    def to_data(self) -> dict[str, Json]:
        """As JSON, for events."""
        return {
            "code": self.code,
            "component": self.component,
            "got": self.got,
            "want": self.want,
            "source": self.source,
            "remedy": self.remedy,
        }
