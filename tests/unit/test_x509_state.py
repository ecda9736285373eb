"""Modules that read and verify remember nothing that they were sent: that belongs into the caller's memo."""

from __future__ import annotations

import importlib
import pkgutil
from functools import _lru_cache_wrapper

from intel_world import World

import ratchet.evidence
import ratchet.x509
from ratchet.x509.certificate import name_key, read_certificate
from ratchet.x509.chain import root_certificate

SMALL_TABLES = {
    "ratchet.evidence.freshness._unasked": "one step for each source named in this repository",
    "ratchet.evidence.aws.nitro._parsed": "one step for each number of PCRs",
    "ratchet.evidence.intel.sgx._flags": "names of the bits of 2 bytes",
    "ratchet.evidence.amd.snp_report._flags": "names of the bits of three numbers",
    "ratchet.evidence.amd.snp_report._tcb": "four TCB versions of 8 bytes, by component",
    "ratchet.evidence.intel.tdx._flags": "names of the bits of two numbers",
}
"""Caches of modules that verify, and what is in them. Certificates and collateral belong into the caller's memo."""


def test_only_small_tables_are_remembered_by_modules() -> None:
    found = set()
    for package in (ratchet.x509, ratchet.evidence):
        modules = [one.name for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
        for name in (package.__name__, *modules):
            module = importlib.import_module(name)
            caches = [key for key, value in vars(module).items() if isinstance(value, _lru_cache_wrapper)]
            found |= {f"{name}.{key}" for key in caches if getattr(module, key).__module__ == name}
    assert {one for one in found if one.startswith("ratchet.x509")} == set()
    assert found <= SMALL_TABLES.keys()


def test_a_root_holds_its_certificate() -> None:
    root = World().root()
    assert root_certificate(root) is root.certificate
    assert root == World().root()
    assert hash(root) == hash(World().root())


def test_a_name_that_the_memo_has_is_found_by_all_of_its_bytes() -> None:
    root = World().root()
    plain = root_certificate(root)
    names: dict[object, object] = {name_key(plain.issuer): "known", name_key(plain.issuer[:-1]): "another"}
    assert read_certificate(root.der, names).issuer_name == "known"
    assert read_certificate(root.der, {name_key(plain.issuer[:-1]): "another"}) == plain
