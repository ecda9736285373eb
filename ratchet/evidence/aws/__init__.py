"""AWS Nitro Enclaves. `document` reads attestation documents, `certificates` their chain, `nitro` proves them."""

from ratchet.evidence.aws import nitro

FORMATS = (nitro.SPEC,)
"""What AWS's formats say of themselves."""
