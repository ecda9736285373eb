"""What a format says of itself, once: all that the rest of Ratchet must know of it.

A format is a folder beside this file and an entry in `registry`. Nothing outside the folder asks which TEE evidence is
of: it asks what the entry says. An entry that lacks something, or contradicts itself, does not load (`problems`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ratchet.event import BlobId, Json
from ratchet.evidence.proof import Evidence, Field, Format, Proof

if TYPE_CHECKING:
    from ratchet.collateral import Collateral

SIGNER = "signer"
"""A name for the key that vouches for what runs, whatever the TEE calls it: MRSIGNER, the digest of an ID key."""


class Judge(StrEnum):
    """Who says whether the versions of the hardware are good enough."""

    STATUS = "status"  # its vendor signs a status for them (`Proof.tcb`)
    FLOOR = "floor"  # nobody publishes a status: the floor in force judges them
    ISSUER = "issuer"  # it attests no versions: its vendor stands for them with a certificate that lives for hours


class Scope(StrEnum):
    """To whom a security version belongs: what may not go backwards."""

    PLATFORM = "platform"  # the machine, whichever guest asks
    TEE = "tee"  # the machine, for each TEE apart
    GUEST = "guest"  # one guest, from its start on; another guest may have another
    START = "start"  # the start of a guest: it stays as it is while the platform moves on, so it is no mark


class Order(StrEnum):
    """How two values of a component compare."""

    NUMBER = "number"  # whole numbers
    VERSION = "version"  # dotted text, part by part, numbers as numbers: 96.00.9F is before 96.00.A0 (hexadecimal)
    NONE = "none"  # digests and the like: one of a set, of which none is before another


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One security version, by its name in `Claims.tcb`.

    Attributes:
        name: `reported.snp`, `sgx.3`.
        scope: to whom it belongs.
        order: how its values compare.
        major: the component that counts above it: the two are compared as one number.
        unless: the component that says the same better: where that one is attested, this one is no mark.
        label: for people: `SGX component 4`.
        field: name of the claim in the bytes that holds it (`Field.name`).
    """

    name: str
    scope: Scope
    order: Order = Order.NUMBER
    major: str | None = None
    unless: str | None = None
    label: str
    field: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """Two views of a TEE's versions, of which the first ought to have caught up with the second.

    Attributes:
        lower, higher: the views: `reported`, `current`.
        code, remedy: of the reason where it has not.
        sound: whether the first may be above the second on sound firmware.
    """

    lower: str
    higher: str
    code: str
    remedy: str
    sound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One of several sets of versions that evidence has: what to say where a floor is asked of it and not met."""

    name: str
    code: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A way in which evidence names the machine that it comes from (`Claims.platform`).

    Attributes:
        kind: what stands before the colon: `chip`.
        form: regular expression of what stands behind it, whole.
        label: for people: `chip id`.
    """

    kind: str
    form: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Of whom evidence speaks, as far as a vendor's statement may concern it.

    Attributes:
        family: product family; None where it could not be read.
        platform: identity of the machine; None where it has none.
        crls: names of the issuers whose revocation lists were asked; None where none could be.
    """

    family: str | None
    platform: str | None
    crls: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tee:
    """What evidence of one TEE can say, and how that is judged.

    Attributes:
        name: as in `Claims.tee`.
        title: for people: `SNP`.
        judge: who judges its versions.
        versions: names that its parser gives in `Claims.tcb`.
        components: how each of them compares, and to whom it belongs.
        numbers: names in `Claims.bits`.
        measurements: names in `Claims.measurements`.
        texts: of these, those that are text and not hex.
        identities: how it may name its machine.
        signers: of these, those that name who vouches for the guest (`SIGNER`).
        boot: of these, those that say what was there when the guest began to run.
        boot_instead: other claims that, pinned together, say it as well; names in `at_least` need a least value only.
        at_least: see `boot_instead`.
        runtime: of these, those that the guest itself extends while it runs.
        platform_measurements: of these, those that say nothing of the guest.
        launched_as: of the numbers, those that its launch decides and that tell guests apart.
        draws_instance: whether `Claims.instance` is made below the guest, so that no guest or host can choose it: drawn
            by the firmware for each launch, or the key of a TPM that a paravisor made.
        required: claim -> condition: what is required of a guest unless the policy names the claim itself.
        views: sets of versions that a policy may ask a floor of; the first is the one that floors are written of.
        behind: which view ought to have caught up with which.
        versions_source: specification of `views` and `behind`.
        debug_source: specification and field of the debug attribute.
        brings_key: whether the evidence holds the key of its signature. Then no vendor's statement mends a signature
            that fails; else the right certificate may come later.
        concerns: may a vendor's statement (kind, and what it is about: the key without the root's name) change what
            was concluded from evidence on this subject?
        shown_by: component of a reason, in other words than the format's -> names of claims that show it, best first.
        words: of its vocabulary, those that are written in capitals.
    """

    name: str
    title: str
    judge: Judge
    versions: frozenset[str]
    components: tuple[Component, ...]
    numbers: frozenset[str]
    measurements: frozenset[str]
    texts: frozenset[str] = frozenset()
    identities: tuple[Identity, ...]
    signers: tuple[str, ...] = ()
    boot: tuple[str, ...]
    boot_instead: frozenset[str] = frozenset()
    at_least: frozenset[str] = frozenset()
    runtime: tuple[str, ...] = ()
    platform_measurements: frozenset[str] = frozenset()
    launched_as: tuple[str, ...] = ()
    draws_instance: bool = False
    required: Mapping[str, Json]
    views: tuple[View, ...] = ()
    behind: tuple[Behind, ...] = ()
    versions_source: str = ""
    debug_source: str
    brings_key: bool
    concerns: Callable[[Subject, str, str], bool]
    shown_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Every claim that a policy may speak of."""
        found = self.numbers | self.measurements | {one.name for one in self.components}
        return found | {SIGNER} if self.signers else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """Where a challenge is bound.

    Attributes:
        place: the field: `report data`.
        size: bytes that it can hold.
        hashed: whether a hash of the challenge in its place counts, as for longer ones it must.
        source: specification and section.
    """

    place: str
    size: int
    hashed: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSpec:
    """One format of evidence.

    Attributes:
        format: its name; the media type follows from it.
        title: for people: `Intel SGX quote`.
        tee: what it attests.
        detect: are these bytes of it, by their first fields?
        verify: is evidence genuine?
        fields: every claim with its place in the bytes; empty where they cannot be parsed.
        replay_key: the hash of what was signed and of the part of the signature that cannot be altered without the
            key; asked only of bytes that were parsed and proven.
        freshness: where a challenge is bound.
        family: what a product family of it is called: `sgx/<fmspc>`.
        simulated: name of the simulated vendor that makes such evidence (collectors/simulated).
        source: specification and section of its layout.
    """

    format: Format
    title: str
    tee: Tee
    detect: Callable[[bytes], bool]
    verify: Callable[[Evidence, Collateral, datetime], Proof]
    fields: Callable[[bytes], tuple[Field, ...]]
    replay_key: Callable[[bytes, Proof], BlobId]
    freshness: Freshness
    family: str
    simulated: str
    source: str


def problems(formats: Iterable[FormatSpec]) -> Iterator[str]:
    """What is wrong with these entries; nothing where they can be used.

    A component that nobody orders would be a rollback that nobody sees, a requirement of a claim that is never made one
    that refuses everything: so both are found here, and not in the field.
    """
    formats = tuple(formats)
    for what, names in (("format", [str(one.format) for one in formats]), ("TEE", [t.name for t in _tees(formats)])):
        yield from (f"{what} {name} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for one in formats:
        texts = (one.format, one.title, one.family, one.simulated, one.source, one.freshness.source)
        if not all(texts):
            yield f"format {one.format}: an empty text among name, title, family, simulated vendor and sources"
        if one.freshness.size < 1:
            yield f"format {one.format}: nothing can be bound into {one.freshness.place}"
    named: dict[str, Identity] = {}
    for identity in (identity for tee in _tees(formats) for identity in tee.identities):
        if named.setdefault(identity.kind, identity) != identity:
            yield f"two kinds of identity are called {identity.kind}"
    for tee in _tees(formats):
        yield from (f"{tee.name}: {why}" for why in _wrong(tee))


def _tees(formats: Iterable[FormatSpec]) -> list[Tee]:
    found: list[Tee] = []
    for one in formats:
        if not any(one.tee is other for other in found):
            found.append(one.tee)
    return found


def _wrong(tee: Tee) -> Iterator[str]:
    versions = [one.name for one in tee.components]
    known = tee.names
    yield from (f"nobody orders {name}" for name in sorted(tee.versions - set(versions)))
    yield from (f"it orders {name}, which nobody makes" for name in sorted(set(versions) - tee.versions))
    if len(set(versions)) != len(versions) or set(versions) & tee.numbers:
        yield "a component is named twice"
    for what, names, among in (
        ("texts", tee.texts, tee.measurements),
        ("signers", tee.signers, tee.measurements),
        ("boot", tee.boot, tee.measurements),
        ("boot_instead", tee.boot_instead, known),
        ("at_least", tee.at_least, tee.boot_instead),
        ("runtime", tee.runtime, tee.measurements),
        ("platform_measurements", tee.platform_measurements, tee.measurements),
        ("launched_as", tee.launched_as, tee.numbers),
        ("required", tee.required, known),
        ("major", [one.major for one in tee.components if one.major], versions),
        ("unless", [one.unless for one in tee.components if one.unless], versions),
        ("behind", [view for one in tee.behind for view in (one.lower, one.higher)], [one.name for one in tee.views]),
    ):
        yield from (f"{what} names {name}, which is no claim of it" for name in sorted(set(names) - set(among)))
    for view in tee.views:
        if not any(name.startswith(f"{view.name}.") for name in versions):
            yield f"no component is of the view {view.name}"
    for identity in tee.identities:
        if not re.fullmatch("[a-z][a-z0-9]{1,15}", identity.kind) or not (identity.form and identity.label):
            yield f"identity {identity.kind!r}: lower-case letters and digits, with a form and a label"
    if not tee.boot:
        yield "it has no boot measurement, so nothing says what runs"
    if tee.judge is Judge.ISSUER and versions:
        yield f"{versions[0]} and others are judged by nobody"
    if tee.judge is not Judge.ISSUER and not versions:
        yield f"it has no versions that a {tee.judge.value} could judge"
    if not (tee.title and tee.debug_source):
        yield "title or debug_source is empty"
