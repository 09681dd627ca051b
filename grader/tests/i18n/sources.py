"""Texts for the tests of extraction; never imported."""
# ruff: noqa

msg("CPU {cpu} waits", cpu=1)
msg("100 % of them")
nmsg("a CPU waits", "{count} CPUs wait", count=3)
nmsg("{name}: a CPU", "{name}: CPUs", count=3, name="x")
msg("two literals are one text")
session.msg("a message of another kind", {})
listed(cpus)
listed(cpus, "; ")
listed(lines, "\n")
listed(lines, separator=" and ")
say.label("expected")
self._say.label("ok" if fine else "missing")
label("FAIL")
scale.label("x axis")
msg("CPU {cpu} waits", cpu=2)


@check("lab3.some.thing", BOOT)
def test_something(boot):
    """The title
    of a check.

    What only its author reads.
    """


@app.command(name="new-lab")
def command(
    name: Annotated[str, typer.Option("--name", help="Your name.")],
    other: Annotated[str, parser.add("--name", help="of another kind")],
) -> None:
    """Make
    something.
    """


def registered_elsewhere(context: typer.Context, lab: LabArgument) -> None:
    """Build one lab."""


def helper():
    """No text."""
