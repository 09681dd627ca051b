"""Probes: what is watched in a boot, and how CPUs are held and released.

A probe records what happens; the checks decide whether that is right. All of them work
through the gdbstub and need nothing in the guest. `registry` knows them by name; a lab's own
probes, in labs/labN/probes.py, register themselves there as well.

========== ===============================================================================
plain      how all CPUs end, with nothing that the guest could see of it
end        how many CPUs park, and with which number; the cheapest
one-by-one the APs enter one after the other: every milestone, and what alloc returns to each
ladder     every milestone, and each instruction from physical 0 to ap_entry single-stepped
arguments  functions of ap_start.c, called with other arguments than the VMM's own
initfuncs  which init functions run, in which order; the multiboot information filled and poisoned
uefi       vmm_main called with 0 instead of a multiboot pointer
switch     the BSP's stack switch, and what happens to the boot stack after it
calls      asm_wrrsp_and_jmp called by the convention, with decoys where its arguments are not
late-ap    one AP is held before it has counted itself, then before the lock
missing-ap one AP never arrives; the VMM's time limit is shortened
exclusion  which CPUs can be on the boot stack, or counting, at the same time
barrier    which CPUs can leave a round of the barrier before all have entered
guest      what each CPU runs as a guest: VMCB, VMRUNs, exits, how far the guest gets
panic      one CPU panics; what each of the others does when its NMI comes
wakeup     panic_wakeup_all called before the APs are started
========== ===============================================================================
"""

from vmmlab.observe.evidence import LabEvidence
from vmmlab.probes import barrier as _barrier
from vmmlab.probes import exclusion as _exclusion
from vmmlab.probes import guest as _guest
from vmmlab.probes import handshake as _handshake
from vmmlab.probes import initfuncs as _initfuncs
from vmmlab.probes import ladder as _ladder
from vmmlab.probes import owncalls as _owncalls
from vmmlab.probes import panicking as _panicking
from vmmlab.probes import parking as _parking
from vmmlab.probes import stacks as _stacks
from vmmlab.probes.base import BaseProbe, PlainProbe, Probe
from vmmlab.probes.initfuncs import NESTED, NESTING
from vmmlab.probes.longwait import FEW_POLLS
from vmmlab.probes.registry import make_probe, probe, probe_kind, probe_names
from vmmlab.probes.scenario import (
    Scenario,
    Setup,
    TimedSetup,
    barrier,
    bringup,
    early_panic,
    exclusion,
    guest,
    init_functions,
    late_ap,
    missing_ap,
    no_multiboot,
    one_by_one,
    other_arguments,
    panics,
    parking,
    placed_call,
    plain,
    scenario_of,
    stack_switch,
)
from vmmlab.probes.words import boot_in_words

__all__ = [
    "FEW_POLLS",
    "NESTED",
    "NESTING",
    "BaseProbe",
    "LabEvidence",
    "Probe",
    "Scenario",
    "Setup",
    "TimedSetup",
    "barrier",
    "boot_in_words",
    "bringup",
    "early_panic",
    "exclusion",
    "guest",
    "init_functions",
    "late_ap",
    "make_probe",
    "missing_ap",
    "no_multiboot",
    "one_by_one",
    "other_arguments",
    "panics",
    "parking",
    "placed_call",
    "plain",
    "probe",
    "probe_kind",
    "probe_names",
    "scenario_of",
    "stack_switch",
]

probe("plain")(PlainProbe)
# The modules of the probes are imported for their registration.
del _barrier, _exclusion, _guest, _handshake, _initfuncs, _ladder, _owncalls
del _panicking, _parking, _stacks
