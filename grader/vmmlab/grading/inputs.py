"""Inputs of a boot that vary with the seed: memory, command line, modules, init functions.

Only inputs: probes decide the order in which CPUs run, and the cohort the numbers that a copied
solution would hard-code.
"""

from __future__ import annotations

from vmmlab.base.choice import Choice

#: Ids that test the order: prefixes of each other, neighbours, and ids that are never called.
_IDS = (
    "global0", "global00", "global2", "global3", "global5", "global55", "global9", "globa",
    "glob", "local0", "bsp", "bsp1", "bsp5", "ap", "ap1", "paral0", "paral00", "paral3", "pcpu",
    "pcpu7", "pcp",
)  # fmt: skip
#: An id that is never called and comes first in the order. Only every other seed has it, because it
#: would hide a loop that skips the first record.
_FIRST = "Global1"
_CALLED, _NOT_CALLED = "global4_of_many", "nobody_calls_this"


def memory_mib(seed: int, scenario: str) -> int:
    """Return the main memory of a boot, in MiB."""
    return Choice("vmmlab memory 1", seed, scenario).pick((48, 64, 80, 96))


def command_line(seed: int, scenario: str, length: int = 0) -> str:
    """Return the multiboot command line of a boot: letters, digits and spaces only.

    Args:
        seed: decides the words, together with `scenario`.
        scenario: name of the scenario.
        length: minimum number of characters.
    """
    chance = Choice("vmmlab command line 1", seed, scenario)
    words = [f"vmm {chance.below(1 << 40):010x}"]
    while len(" ".join(words)) < length:
        words.append(f"{chance.below(1 << 40):x}")
    return " ".join(words)


def module(seed: int, number: int) -> bytes:
    """Return the contents of a multiboot module: random bytes, from 1 to 8 KiB."""
    chance = Choice("vmmlab module 1", seed, number)
    return chance.randbytes(chance.between(1024, 8191))


def initfunc_asm(seed: int, more: int = 0) -> str:
    """Return assembly source of init functions that do nothing but can be seen to run.

    Their ids, file names and order in the object vary with the seed. No two have both the same id
    and the same file name, because the order of such two is not defined.

    Args:
        seed: decides everything.
        more: number of further functions, with long ids and file names that differ only at the end.
    """
    chance = Choice("vmmlab initfuncs 1", seed)
    wanted = [*_IDS, *(chance.pick(_IDS) for _ in range(6)), *([_FIRST] if seed % 2 else [])]
    files = [f"{chance.pick('abcdxyz')}{n:02d}.c" for n in chance.some(len(wanted), range(100))]
    records = list(zip(wanted, files, strict=True))
    # Every tenth is called. The others only have to exist: they share one function, because each
    # watched place makes the boot slower.
    for part, n in enumerate(chance.shuffled(range(more))):
        first = _CALLED if n % 10 == 0 else _NOT_CALLED
        records.append((f"{first}_{n // 40:04d}", f"drivers/of_many/part_{part:04d}.c"))
    records = chance.shuffled(records)
    text, data, strings = [".text"], ['.section .initfunc, "aw", @progbits'], [".section .rodata"]
    functions: dict[str, None] = {}
    for number, (ident, filename) in enumerate(records):
        shared = ident.startswith(_NOT_CALLED)
        name = "initfunc_probe_shared" if shared else f"initfunc_probe_{number:02d}"
        functions[name] = None
        data += [f".quad .Lfile{number}, .Lid{number}, {name}"]
        strings += [f'.Lfile{number}: .asciz "{filename}"', f'.Lid{number}: .asciz "{ident}"']
    for name in functions:
        text += [f".globl {name}", f".type {name}, @function", f"{name}: ret"]
        text += [f".size {name}, . - {name}"]
    note = ['.section .note.GNU-stack, "", @progbits']
    return "\n".join([*text, *data, *strings, *note]) + "\n"
