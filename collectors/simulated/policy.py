"""What a relying party knows of a simulated fleet's workloads: reference values for its policy."""

from collectors.simulated.fleet import measurement
from collectors.simulated.scenario import Scenario


def reference_values(scenario: Scenario) -> dict[str, dict[str, str]]:
    """Reference values for the workloads, as a policy has them: tee -> measurement -> `known`."""
    found: dict[str, dict[str, str]] = {}
    for group in scenario.machines.values():
        for release in scenario.workloads[group.runs]:
            found.setdefault(group.tee, {})[measurement(group.runs, release, group.tee).hex()] = "known"
    return found
