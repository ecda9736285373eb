"""What a relying party knows of a simulated fleet's workloads: reference values for its policy."""

from collectors.simulated.fleet import measurements
from collectors.simulated.scenario import Scenario
from ratchet.event import Json


def reference_values(scenario: Scenario) -> dict[str, Json]:
    """Reference values for the workloads, as a policy has them: one set for each release on each TEE."""
    found: dict[str, Json] = {}
    for group in scenario.machines.values():
        for release in scenario.workloads[group.runs]:
            found[f"{group.runs}-{release}-{group.tee}"] = {
                "tee": group.tee,
                "conditions": measurements(group.runs, release, group.tee),
                "by": "demo",
                "source": "the simulated fleet's releases",
            }
    return found
