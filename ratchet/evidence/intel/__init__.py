"""Intel SGX and TDX quotes. `quote` reads both, `dcap` proves them, `sgx` and `tdx` say what is in their bodies."""

from ratchet.evidence.intel import sgx, tdx

FORMATS = (tdx.SPEC, sgx.SPEC)
"""What Intel's formats say of themselves."""
