"""AMD SEV-SNP attestation reports. `snp_report` reads them, `snp` proves them, `versions` says how TCBs compare."""

from ratchet.evidence.amd import snp

FORMATS = (snp.SPEC,)
"""What AMD's formats say of themselves."""
