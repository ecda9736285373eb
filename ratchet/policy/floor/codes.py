"""What a machine that does not meet a floor is told."""

BELOW = "below_floor"
"""Code: attested, and less than the floor asks."""

ABSTAINS = "floor_abstains"
"""Code: the floor asks for something that the evidence does not attest. Not met, but nobody was found wanting."""
