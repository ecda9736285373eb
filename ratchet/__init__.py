"""Ratchet's core: what attestation evidence says, and what follows from it.

Everything below this package, `ratchet.cli` apart, is pure: no clock, network, files, environment or randomness. What
it decides today can therefore be computed again in a year from the same bytes.
"""

__version__ = "0.1.0"
