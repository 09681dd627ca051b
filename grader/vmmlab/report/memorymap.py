"""The memory map of a boot: what was where, who wrote there, and what overlaps.

Physical addresses. The stacks are those that the CPUs had at the end; writes are known of CPUs
whose steps were recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Final, Literal

from vmmlab.base.message import Text, msg
from vmmlab.i18n.translate import Reader
from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.cpu import CpuRecord
from vmmlab.observe.observation import Observation
from vmmlab.report.timeline import ranges
from vmmlab.x86.registers import PAGE_BYTES

Kind = Literal["given", "image", "inside", "jump", "trampoline", "stack", "write"]

LOW: Final = 1 << 20
ROWS_MOST: Final = 80
_JUMP: Final = 5  # bytes of ljmpw
_GIVEN: Final = (
    (0x400, 0x500, msg("BIOS data area")),
    (0xA0000, 0xC0000, msg("VGA memory")),
    (0xF0000, 0x100000, msg("firmware (ROM)")),
)
_MUST_BE_ALONE: Final = frozenset({"image", "jump", "trampoline", "stack"})
_WIDTH: Final = 420
_ROW: Final = 18


@dataclass(frozen=True, slots=True)
class Region:
    """A range of physical memory.

    Args:
        start: the first byte.
        end: behind the last byte.
        kind: what it is.
        what: the same for a reader.
        by: who wrote it; "" if that is not known.
        overlaps: another region that must not share memory with it, and does.
    """

    start: int
    end: int
    kind: Kind
    what: Text
    by: Text = ""
    overlaps: Text = ""


def regions(seen: Observation) -> list[Region]:
    """Return the regions of a boot by their address, overlaps marked."""
    found = [*_given(), *_vmm(seen), *_low(seen), *_stacks(seen), *_writes(seen)]
    found.sort(key=lambda one: (one.start, -one.end))
    return _marked(found)


def _given() -> Iterator[Region]:
    for start, end, what in _GIVEN:
        yield Region(start, end, "given", what)


def _vmm(seen: Observation) -> Iterator[Region]:
    names = seen.symbols
    if {"__image_start", "__image_end"} <= names.keys():
        start, end = seen.phys("__image_start"), seen.phys("__image_end")
        yield Region(start, end, "image", msg("the VMM's image"), msg("the boot loader"))
    if {"boot_stack", "boot_stack_top"} <= names.keys():
        start, end = seen.phys("boot_stack"), seen.phys("boot_stack_top")
        yield Region(start, end, "inside", msg("boot stack, shared by all APs"))
    if "ap_pagetable" in names:
        start = seen.phys("ap_pagetable")
        yield Region(start, start + PAGE_BYTES, "inside", msg("ap_pagetable, the APs' page tables"))


def _low(seen: Observation) -> Iterator[Region]:
    wrote = {one.physical for one in seen.starting.mappings if one.written} if seen.starting else ()
    bsp = msg("CPU {cpu}", cpu=0)
    if seen.physical_0.during is not None:
        by = bsp if 0 in wrote else ""
        yield Region(0, _JUMP, "jump", msg("the far jump at physical 0"), by)
    size = len(seen.trampoline.image)
    if size and seen.trampoline.copy is not None:
        start = seen.apinit_addr
        by = bsp if start in wrote else ""
        yield Region(start, start + size, "trampoline", msg("the copy of the trampoline"), by)


def _stacks(seen: Observation) -> Iterator[Region]:
    for cpu in seen.cpus:
        if cpu.stackaddr:
            start = cpu.stackaddr - VMM_BASE if cpu.stackaddr >= VMM_BASE else cpu.stackaddr
            what = msg("stack of {cpu}", cpu=cpu.name)
            by = msg("CPU {cpu}", cpu=cpu.index) if cpu.allocations else ""
            yield Region(start, start + seen.stack_size, "stack", what, by)


def _writes(seen: Observation) -> Iterator[Region]:
    """Yield the memory that CPUs wrote in recorded steps; CPUs that wrote the same, together."""
    cpus: dict[tuple[int, int], list[int]] = {}
    for cpu in seen.cpus:
        for span in _written(cpu):
            cpus.setdefault(span, []).append(cpu.index)
    for (start, end), who in cpus.items():
        by = msg("CPU {cpu}", cpu=ranges(who))
        yield Region(start, end, "write", msg("written in the trampoline"), by)


def _written(cpu: CpuRecord) -> list[tuple[int, int]]:
    spans = sorted(
        (touch.address, touch.address + touch.size)
        for step in cpu.steps
        for touch in step.touches
        if touch.writes and touch.address is not None
    )
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _marked(found: Sequence[Region]) -> list[Region]:
    """Return sorted regions with the overlaps of those that must have their memory alone."""
    marked = list(found)
    open_: list[int] = []
    for number, one in enumerate(found):
        if one.kind not in _MUST_BE_ALONE:
            continue
        open_ = [other for other in open_ if found[other].end > one.start]
        for other in open_:
            marked[number] = replace(marked[number], overlaps=found[other].what)
            marked[other] = replace(marked[other], overlaps=one.what)
        open_.append(number)
    return marked


def svg(found: Sequence[Region], say: Reader, name: str, *, low: bool) -> str:
    """Return regions as bars below each other, on a scale of addresses.

    Args:
        found: the regions, by their address.
        say: the reader's language.
        name: unique in the page.
        low: the first megabyte; else what is above it.
    """
    if not found:
        return ""
    first = 0 if low else min(one.start for one in found) & ~0xFFFF
    last = LOW if low else max(one.end for one in found)
    scale = _WIDTH / max(last - first, 1)
    height = 22 + _ROW * len(found)
    title = say(msg("The low megabyte") if low else msg("The VMM's image and the stacks"))
    parts = [
        f'<svg class="memory" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'aria-labelledby="{name}-t" width="{_WIDTH + 20}" height="{height}" '
        f'viewBox="0 0 {_WIDTH + 20} {height}"><title id="{name}-t">{escape(title)}</title>'
        f'<text class="head" x="10" y="13">{first:#x}</text>'
        f'<text class="head" x="{_WIDTH + 10}" y="13" text-anchor="end">{last:#x}</text>'
    ]
    for row, one in enumerate(found):
        x = 10 + (one.start - first) * scale
        wide = max((one.end - one.start) * scale, 5)
        x = min(x, _WIDTH + 10 - wide)
        wrong = " overlap" if one.overlaps else ""
        y = 20 + _ROW * row
        parts.append(
            f'<line class="grid" x1="10" x2="{_WIDTH + 10}" y1="{y + 8}" y2="{y + 8}"/>'
            f'<rect class="region {one.kind}{wrong}" data-start="{one.start}" data-end="{one.end}" '
            f'x="{x:.1f}" y="{y + 2}" width="{wide:.1f}" height="12" rx="2"/>'
        )
    return "".join([*parts, "</svg>"])
