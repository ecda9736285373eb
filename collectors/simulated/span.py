"""For how long the simulated vendors' certificates hold: long before and after any scenario."""

from datetime import UTC, datetime

CERTIFICATES_FROM = datetime(2024, 6, 1, tzinfo=UTC)
CERTIFICATES_UNTIL = datetime(2031, 6, 1, tzinfo=UTC)
