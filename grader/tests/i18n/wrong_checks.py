"""What a lab's checks may look like; beside it, known_wrong.yml translates it badly."""

from vmmlab.checks import check, fail
from vmmlab.probes import parking

BOOT = parking(name="boot", cpus=4)


@check("lab9.wrong.one", BOOT)
def one(boot):
    """The title that was forgotten."""
    begun = f", begun by {boot.vector}" if boot.vector else ""
    fail(
        "no-cause-is-shown",
        expected=f"{boot.name} waits as well",
        observed=f"it went from {boot.here:#x} to {boot.there:#x}",
        place="a triple fault",
        next=f"a double fault{begun}",
    )
