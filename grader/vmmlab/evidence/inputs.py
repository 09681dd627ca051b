"""What the seed decides of a boot: memory, command line, extra init functions.

The seed varies inputs only. The order in which CPUs run is the probes' business, and what a
copied solution would hard-code is the cohort's.
"""

from __future__ import annotations

import random

#: Ids that ask something: prefixes of each other, neighbours, and ids that nobody calls.
_IDS = (
    "global0", "global00", "global2", "global3", "global5", "global55", "global9", "globa",
    "glob", "local0", "bsp", "bsp1", "bsp5", "ap", "ap1", "paral0", "paral00", "paral3", "pcpu",
    "pcpu7", "pcp",
)  # fmt: skip
#: An id that nobody calls and that comes first in the order; only every other seed has it, since
#: it would hide a loop that passes over the first record.
_FIRST = "Global1"


def memory_mib(seed: int, scenario: str) -> int:
    """Main memory of a boot, in MiB."""
    return random.Random(f"memory/{seed}/{scenario}").choice((48, 64, 80, 96))


def command_line(seed: int, scenario: str) -> str:
    """The multiboot command line of a boot: letters and digits only."""
    return f"vmm {random.Random(f'cmdline/{seed}/{scenario}').getrandbits(40):010x}"


def initfunc_asm(seed: int) -> str:
    """Assembly source of init functions that do nothing but can be seen to run.

    Their ids, file names and order in the object vary with the seed; no two have the same
    (id, file name), whose order would not be defined.

    Args:
        seed: decides everything.
    """
    chance = random.Random(f"initfuncs/{seed}")
    wanted = [*_IDS, *chance.choices(_IDS, k=6), *([_FIRST] if seed % 2 else [])]
    files = [f"{chance.choice('abcdxyz')}{n:02d}.c" for n in chance.sample(range(100), len(wanted))]
    records = list(zip(wanted, files, strict=True))
    chance.shuffle(records)
    text, data, strings = [".text"], ['.section .initfunc, "aw", @progbits'], [".section .rodata"]
    for number, (ident, filename) in enumerate(records):
        name = f"initfunc_probe_{number:02d}"
        text += [f".globl {name}", f".type {name}, @function", f"{name}: ret"]
        text += [f".size {name}, . - {name}"]
        data += [f".quad .Lfile{number}, .Lid{number}, {name}"]
        strings += [f'.Lfile{number}: .asciz "{filename}"', f'.Lid{number}: .asciz "{ident}"']
    note = ['.section .note.GNU-stack, "", @progbits']
    return "\n".join([*text, *data, *strings, *note]) + "\n"
