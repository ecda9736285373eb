"""The versions of an SNP machine: four TCBs of five components each, and how they compare (AMD 56860, TCB_VERSION)."""

from __future__ import annotations

from ratchet.evidence.spec import Behind, Component, Scope, View

SOURCE = "AMD 56860, ATTESTATION_REPORT"

_PARTS = {"bl": "Boot loader", "fmc": "FMC", "snp": "SNP", "tee": "TEE", "ucode": "Microcode"}
"""`fmc` on Turin alone (AMD 57230, "TCB version")."""

_OF = {"reported": "", "committed": " committed", "launch": " at launch", "current": " current"}

COMPONENTS = tuple(
    Component(
        name=f"{of}.{part}",
        # They belong to the chip, whichever guest asks; but a guest that lives on through an update keeps the TCB of
        # its launch.
        scope=Scope.START if of == "launch" else Scope.PLATFORM,
        label=f"{label}{when}",
        field=f"{of}tcb",
    )
    for of, when in _OF.items()
    for part, label in _PARTS.items()
)
"""Every name in `Claims.tcb`."""

VIEWS = (
    View(name="reported", code="below_floor", remedy="update SEV firmware"),
    View(
        name="committed",
        code="committed_below_floor",
        remedy="commit the firmware (SNP_COMMIT): until then the host can go back",
    ),
    View(
        name="launch",
        code="launched_below_floor",
        remedy="relaunch the guest: its memory was prepared under older firmware",
    ),
    View(name="current", code="current_below_floor", remedy="update SEV firmware"),
)
"""A floor is written of the reported TCB, from which the signing key is derived; a policy may ask it of the others."""

BEHIND = (
    # Lower ones are reasons without weight; a reported or committed version above the current one cannot come about on
    # sound firmware (AMD 56860, SNP_SET_CONFIG and SNP_COMMIT). A guest may have been launched on newer firmware that
    # was taken back since, or imported.
    Behind(
        lower="reported",
        higher="current",
        code="reported_below_current",
        remedy="raise the reported TCB (SNP_SET_CONFIG), fetch the new VCEK",
    ),
    Behind(
        lower="committed",
        higher="current",
        code="current_not_committed",
        remedy="commit the firmware (SNP_COMMIT): until then it can go back",
    ),
    Behind(
        lower="launch",
        higher="current",
        code="launched_on_older_tcb",
        remedy="relaunch the guest: it started under older firmware",
        sound=True,
    ),
)
"""Which ought to have caught up with which, component by component: they are no integers."""
