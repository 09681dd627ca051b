"""What a lab's checks may look like; beside it, known_wrong.yml translates it badly."""

from vmmlab.checks import check, fail, scenario

BOOT = scenario("boot", probe="end", cpus=4)


@check("lab9.wrong.one", BOOT)
def test_one(boot):
    """The title that was forgotten."""
    begun = f", begun by {boot.vector}" if boot.vector else ""
    fail(
        "no-cause-is-shown",
        expected=f"{boot.name} waits as well",
        observed=f"it went from {boot.here:#x} to {boot.there:#x}",
        place="a triple fault",
        next=f"a double fault{begun}",
    )
