"""Lab 0: nothing to write. The tools are there, and the given VMM boots."""

from vmmlab.checks import check, fail, msg
from vmmlab.diagnosis.bsp import last_line
from vmmlab.probes import parking

BOOT = parking(name="boot", cpus=4)


@check("lab0.boot.parked", BOOT, per="cpu")
def given_vmm_boots(boot, cpu):
    """The given VMM boots, and all four CPUs come to rest in vmm_parked."""
    if cpu.end_kind != "parked":
        fail(
            "given-vmm-does-not-boot",
            cpu=cpu.index,
            place=cpu.end_place.text,
            expected=msg("{cpu} is parked", cpu=cpu.name),
            observed=msg(
                "it ended {ending}; last line: {line}",
                ending=cpu.ended,
                line=last_line(boot.serial),
            ),
        )
