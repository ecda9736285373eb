"""Rules over what correlation sees: Sigma, with the fields and actions of `observation`."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet.detect import observation, sigma

VOCABULARY = sigma.Vocabulary(
    tuple(observation.FIELDS), tuple(observation.FAMILIES), tuple(observation.ACTIONS), observation.SHAPES
)
"""What a rule may speak of."""


def load(files: Mapping[str, str | bytes]) -> sigma.RuleSet:
    """Read rules: path -> text.

    Raises:
        BadRules: see `ratchet.detect.sigma.load`.
    """
    return sigma.load(files, VOCABULARY)
