"""Lab 0: nothing to write. The tools are there, and the given VMM boots."""

from vmmlab.checks import check, fail, scenario
from vmmlab.diagnosis.bsp import last_line

BOOT = scenario("boot", probe="end", cpus=4)


@check("lab0.boot.parked", BOOT)
def test_the_given_vmm_boots_four_cpus(boot, score):
    """The given VMM boots, and all four CPUs come to rest in vmm_parked."""
    for cpu in boot.cpus:
        with score.case(cpu.name):
            if cpu.end_kind != "parked":
                fail(
                    "given-vmm-does-not-boot",
                    cpu=cpu.index,
                    place=str(cpu.end_place),
                    expected=f"{cpu.name} parks",
                    observed=f"it ended {cpu.end_kind}; last line: {last_line(boot.serial)}",
                    next="Nothing here is yours: run `vmmlab doctor`, and show its output.",
                )
