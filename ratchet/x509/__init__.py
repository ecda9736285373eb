"""Certificates and revocation lists: `certificate` reads them, `chain` leads from one to a trusted root."""
