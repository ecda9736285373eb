"""Evidence of formats that are not read yet is named, so that its sender knows what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.evidence import detect
from ratchet.evidence.recognise import recognise

NAMES = {
    "az-snp-vtpm": "Azure HCL report (SEV-SNP)",
    "az-tdx-vtpm": "Azure HCL report (TDX)",
    "cca-token": "Arm CCA attestation token",
    "cmw": "message wrapper (CMW)",
    "corim": "CoRIM",
    "ear-jwt": "EAR attestation result (JWT)",
    "eventlog": "event log",
    "gcp-cs-jwt": "Google Confidential Space token (JWT)",
    "ita-jwt": "Intel Trust Authority token (JWT)",
    "maa-jwt": "Microsoft Azure Attestation token (JWT)",
    "nvidia-gpu": "NVIDIA GPU or switch attestation report",
    "nvidia-switch": "NVIDIA GPU or switch attestation report",
    "nvidia-nras-eat": "NVIDIA Remote Attestation Service token",
    "nvidia-rim": "reference integrity manifest",
    "psa-token": "Arm PSA attestation token",
    "tpm-quote": "TPM quote",
    "intel-collateral": "vendor document",
    "collateral": "",  # vendors' documents of several kinds
    "eat-example": "E",  # "Entity Attestation Token" or "unsigned EAT claims"
}
"""Format in the manifest -> how its name begins or what it holds."""

OTHERWISE = {"cmw-x509-cert-cbor-cmw-der": "X.509 certificate"}
"""A certificate that carries a CMW in an extension is a certificate."""


def test_every_piece_of_real_evidence_is_read_or_named(corpus: Path) -> None:
    for item in json.loads((corpus / "MANIFEST.json").read_text()):
        raw = (corpus / item["file"]).read_bytes()
        found = recognise(raw)
        if detect(raw) is not None:
            continue
        assert found is not None, item["id"]
        assert OTHERWISE.get(item["id"], NAMES[item["format"]]) in found.name, item["id"]


def test_what_is_read_is_not_named_as_something_else(corpus: Path) -> None:
    for item in json.loads((corpus / "MANIFEST.json").read_text()):
        raw = (corpus / item["file"]).read_bytes()
        if detect(raw) is not None:
            assert recognise(raw) is None, item["id"]


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_named_or_not_and_raise_nothing(raw: bytes) -> None:
    recognise(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"HCLA",
        b"\xffTCG",
        b"\x11\xe0\x01\xff",
        b"\xd2\x84",
        b"\x84\x44\xa1\x01\x38\x22",
        b"ey.ey.ey",
        b"eyJ9.!!.x",
        b"[" * 100_000,
        b"{" + b'"a":{' * 50_000,
        b"[[1]]",
        b'[["JWT"]]',
        b'[["JWT", 5]]',
        b"\xa1\x00",
        b"\x9f\xff",
        b"-----BEGIN",
    ],
)
def test_a_beginning_without_its_end_raises_nothing(raw: bytes) -> None:
    recognise(raw)
