"""An exploration as plain text: a table of steps for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from vmmlab.explore.model import Counterexample, Exploration, Part, Step

_WIDTH = 100


def lines(found: Exploration) -> Iterator[str]:
    """What was tried, what came of it, and the counterexample if there is one.

    Args:
        found: the exploration.
    """
    for part in found.parts:
        yield from _part(part)
    if found.counterexample:
        yield ""
        yield from counterexample(found.counterexample)
    else:
        yield ""
        yield summary(found)


def summary(found: Exploration) -> str:
    """The verdict in one line."""
    states = f"{found.states:,} states"
    if found.verdict == "wrong" and found.counterexample:
        return f"wrong schedule found: {found.counterexample.what}"
    if found.verdict == "correct":
        return f"no wrong schedule found: {states}, exhaustive"
    if found.verdict == "no error found":
        return f"no wrong schedule found: {states}, {bounds(found)}"
    first = next(limit for part in found.parts for limit in part.limits)
    if found.verdict == "unfinished":
        return f"not written yet: {first}"
    return f"unsupported: {first}"


def bounds(found: Exploration) -> str:
    """What was not tried, in words."""
    return "; ".join(dict.fromkeys(part.bound for part in found.parts if part.bound))


def _part(part: Part) -> Iterator[str]:
    name = f"{part.scenario}, stores {'seen ' if part.memory == 'in order' else 'by '}{part.memory}"
    how = part.bound or "exhaustive"
    if part.verdict == "wrong":
        how = "stopped at the first wrong state"
    yield f"{name:<38} {part.verdict:<15} {part.states:>9,} states  {how}  {part.seconds:.1f} s"
    for assumption in part.assumptions:
        yield f"    {assumption}"
    for limit in part.limits:
        yield f"    {part.verdict}: {limit}"


def counterexample(found: Counterexample) -> Iterator[str]:
    """The table of steps, where every CPU is then, and the variables.

    Args:
        found: the counterexample.
    """
    yield f"WRONG     {found.what}"
    yield f"expected  {found.expected}"
    yield ""
    rows = [("step", "who", "where", "what", "who has what")]
    rows += [_row(step) for step in found.steps]
    wide = [max(len(row[at]) for row in rows) for at in range(4)]
    if found.hopeless == 0:
        yield "  Whatever the order of the steps, it ends like this:"
        yield ""
    for row in rows:
        cells = [cell.ljust(size) for cell, size in zip(row, wide, strict=False)]
        cells[:2] = [cell.rjust(size) for cell, size in zip(row[:2], wide, strict=False)]
        head = "  ".join(cells)
        yield f"  {head}  {row[4]}".rstrip()
        if found.hopeless is not None and row[0] == str(found.hopeless):
            yield "        -- from here on nothing can help any more --"
    yield ""
    for cpu in found.cpus:
        name = _cpu(cpu.cpu).ljust(5)
        where = ", ".join(filter(None, (cpu.place, cpu.function)))
        yield f"  {name}  {cpu.doing}{f' ({where})' if where else ''}"
    values = [f"{name} = {_number(value)}" for name, value in found.values.items()]
    yield ""
    line = " "
    for value in values:
        if len(line) + len(value) > _WIDTH:
            yield line
            line = " "
        line += f" {value},"
    yield line.rstrip(",")


def _row(step: Step) -> tuple[str, str, str, str, str]:
    what = step.action
    if step.target:
        read = "" if step.read is None else f" = {_number(step.read)}"
        first, comma, rest = what.partition(",")
        if step.read is not None and step.written is not None:
            what = f"{first} {step.target}: {_number(step.read)} -> {_number(step.written)}"
            what += comma + rest
        else:
            wrote = "" if step.written is None else f" = {_number(step.written)}"
            what = f"{first} {step.target}{read}{wrote}{comma}{rest}"
    holds = ", ".join(f"{name}: {_cpu(cpu)}" for name, cpu in step.holds.items())
    return str(step.number), _cpu(step.cpu), step.place or step.function, what, holds


def _cpu(cpu: int) -> str:
    return f"CPU {cpu}" if cpu else "BSP"


def _number(value: int) -> str:
    return str(value) if value < 256 else f"{value:#x}"
