"""Nitro enclaves in a scenario."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from collectors.simulated.model import WAYS, Group, Happened, How, MachineName, Ways
from ratchet.evidence import Format

_PCRS = b"\x64pcrs"
"""The key before the registers, in CBOR."""


class NitroGroup(Group):
    """Parent instances with one enclave each, which sends attestation documents.

    Attributes:
        signed_image: whether the image was signed: then PCR8 says by whom.
    """

    FORMAT = Format("nitro")
    MISLABELLED = Format("sgx-quote")
    SAMPLES: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"nitro": {"tee": "nitro"}, "nitro-signed": {"tee": "nitro", "signed_image": True}}
    )

    tee: Literal["nitro"]
    signed_image: bool = False

    def measurements(self, release: str) -> dict[str, str]:
        """Of the image, of kernel and boot ramfs, and of the application."""
        image = f"simulated enclave of {self.runs} {release}"
        return {f"pcr{i}": hashlib.sha384(f"{image}, PCR{i}".encode()).hexdigest() for i in range(3)}

    def signed(self, raw: bytes) -> range:
        """PCR0: behind the map's key and head, the index, and the head of 48 bytes."""
        start = raw.index(_PCRS) + len(_PCRS) + 4
        return range(start, start + 48)

    def ways(self) -> Ways:
        """A debugged enclave has zeros for measurements, which nobody vouches for; a document may come too late."""
        return {**WAYS, "debug": ("debug-enabled", "measurement-unknown"), "expired": ("evidence-unproven",)}


class DocumentExpired(Happened):
    """One genuine document that comes when its leaf has ended."""

    event: Literal["document-expired"]
    machine: MachineName

    @property
    def way(self) -> How:
        """Too late."""
        return "expired"
