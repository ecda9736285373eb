"""Evidence of Azure's confidential virtual machines: an HCL report with a hardware report in it, and a vTPM's quote.

`envelope` reads the JSON that carries them, `hcl` the HCL report and its run-time data, `tpm` the quote; `vtpm` proves
the whole; `snp` and `tdx` say what is particular to each.
"""

from ratchet.evidence.azure import snp, tdx

FORMATS = (snp.SPEC, tdx.SPEC)
"""What Azure's formats say of themselves."""
