"""Runs every measurement; the last line is one JSON object with all of it."""

from __future__ import annotations

import argparse
import json
import platform
import sys

from bench import pipeline, verification


def main() -> None:
    """Measure, tell as it goes, and end with the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row of verification (default 4)")
    parser.add_argument("--probes", type=int, default=200, help="alerts that are timed (default 200)")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}; medians of turns, one core")
    figures = {
        "verify": verification.measure(args.seconds, print),
        "pipeline": pipeline.measure(args.probes, print),
    }
    json.dump(figures, sys.stdout, default=float)
    print()


if __name__ == "__main__":
    main()
