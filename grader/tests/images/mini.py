"""A tree, a course and a reference just large enough to build: three labs, five files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmmlab.images.model import LabLike


@dataclass(frozen=True)
class LabLayout:
    """A lab as the build sees it: the simplest `LabLike`."""

    name: str
    files: tuple[str, ...]
    symbols: Mapping[str, tuple[str, ...]]
    links: str = "lab3"
    given: tuple[str, ...] = ()
    built_for: tuple[str, ...] = ("x86_64", "i386")


@dataclass(frozen=True)
class Layouts:
    """Labs as the build sees them: the simplest `CourseLike`."""

    labs: Mapping[str, LabLike]


TREE = {
    "vmm.ld": """
ENTRY (entry)
PHDRS { text PT_LOAD FLAGS (5); data PT_LOAD FLAGS (6); }
SECTIONS
{
	. = 0x40100000;
	.text : AT (ADDR (.text) - 0x40000000) {
		KEEP (*(.multiboot))
		*(.text .text.*)
	} :text
	.rodata : AT (ADDR (.rodata) - 0x40000000) { *(.rodata .rodata.*) } :text
	. = ALIGN (4096);
	.data : AT (ADDR (.data) - 0x40000000) { *(.data .data.*) } :data
	.initfunc : AT (ADDR (.initfunc) - 0x40000000) {
		__initfunc_start = .;
		KEEP (*(.initfunc))
		__initfunc_end = .;
	} :data
	.bss : AT (ADDR (.bss) - 0x40000000) { *(.bss .bss.* COMMON) } :data
	/DISCARD/ : { *(.comment .note .note.* .eh_frame) }
}
""",
    "boot/entry.S": """
	.section .multiboot, "a"
	.long	0x1BADB002, 0, -0x1BADB002
	.text
	.code32
	.globl	entry
entry:
	cli
	hlt
	jmp	entry
""",
    "core/main.c": """
#include "given.h"
#include "cohort.h"

volatile int counter;
const char cohort_name[] = VMM_COHORT;

__attribute__ ((noinline, noreturn)) void
vmm_parked (void)
{
	for (;;)
		counter++;
}

static void
main_init (void)
{
	counter = 1;
}

INITFUNC ("global0", main_init);
""",
    "core/delays.c": """
#ifdef VMM_DELAYS_FAITHFUL
unsigned int init_us = 10000;
#else
unsigned int init_us = 100;
#endif
""",
    "core/start.c": """
#include "given.h"

void
start (void)
{
	alpha ();
	beta (1);
	vmm_parked ();
}
""",
    "include/given.h": """
#ifndef GIVEN_H
#define GIVEN_H
struct initfunc_data { const char *filename, *id; void (*func) (void); };
#define INITFUNC(id, func) \\
	static struct initfunc_data __initfunc_##func \\
		__attribute__ ((section (".initfunc"), used, aligned (8))) = \\
		{ __FILE__, id, func }
#define BAD_USE(x) ((x)->no_such_member)
extern volatile int counter;
__attribute__ ((noreturn)) void vmm_parked (void);
void start (void);
void alpha (void);
int beta (int x);
int gamma_ray (int x);
#endif
""",
}

REFERENCE = {
    "lab1/alpha.c": """
#include "given.h"
/* REFERENCE SECRET */
static int
helper (int x)
{
	return x + counter;
}

void
alpha (void)
{
	counter = helper (2);
}

INITFUNC ("global1", alpha);
""",
    "lab2/tramp.S": """
	.text
	.globl	tramp_start, tramp_end, tramp_count
	.code16
tramp_start:
	cli
	lock incl %cs:tramp_count - tramp_start
spin:
	hlt
	jmp	spin
	.balign	4
tramp_count:
	.long	0
tramp_end:
""",
    "lab2/beta.c": """
#include "given.h"

int
gamma_ray (int x)
{
	return x * 3;
}

int
beta (int x)
{
	return gamma_ray (x) + counter;
}
""",
    "lab3/delta.S": """
	.text
	.globl	delta
delta:
	ret
""",
}

LABS = {
    "lab0": LabLayout("lab0", (), {}),
    "lab1": LabLayout("lab1", ("lab1/alpha.c",), {"lab1/alpha.c": ("alpha",)}),
    "lab2": LabLayout(
        "lab2",
        ("lab2/tramp.S", "lab2/beta.c"),
        {
            "lab2/tramp.S": ("tramp_start", "tramp_end", "tramp_count"),
            "lab2/beta.c": ("beta", "gamma_ray"),
        },
    ),
    "lab3": LabLayout("lab3", ("lab3/delta.S",), {"lab3/delta.S": ("delta",)}),
}
COURSE = Layouts(LABS)


@dataclass(frozen=True)
class MiniCohort:
    """A cohort whose header is one line."""

    name: str = "dev"

    def header(self) -> str:
        """The text of cohort.h."""
        return f'#define VMM_COHORT "{self.name}"\n'


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def solution(**changes: str) -> dict[str, bytes]:
    """Return the reference's files; `changes` are by file name with `_` for `.`: beta_c="…"."""
    files = dict(REFERENCE)
    for short, text in changes.items():
        (name,) = [one for one in files if one.endswith("/" + short.replace("_", "."))]
        files[name] = text
    return {name: text.encode() for name, text in files.items()}
