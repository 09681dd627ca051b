"""Describes how a boot differs from others, in the handouts' terms."""

from __future__ import annotations

from vmmlab.base.message import Text, listed, msg, nmsg
from vmmlab.probes.scenario import Scenario


def boot_in_words(scenario: Scenario) -> Text:
    """Return what a student reads in place of a scenario's name.

    Args:
        scenario: the boot; its cohort is named elsewhere.
    """
    usual = Scenario(scenario.name)
    said: list[Text] = [nmsg("{count} CPU", "{count} CPUs", count=scenario.cpus)]
    about = {
        "uefi": msg("no multiboot pointer"),
        "late-ap": msg("one AP is late"),
        "missing-ap": msg("one AP never arrives"),
    }
    if scenario.probe in about:
        said.append(about[scenario.probe])
    if scenario.probe == "panic":
        said.append(msg("CPU {number} panics", number=scenario.option("cpu", 0)))
    if scenario.firmware != usual.firmware:
        said.append(msg("firmware {name}", name=scenario.firmware))
    if not scenario.acpi:
        said.append(msg("no ACPI tables"))
    if scenario.shuffle is not None:
        said.append(msg("the files are linked in another order"))
    said += [how for how in (scenario.compiler, scenario.opt) if how is not None]
    return listed(said)
