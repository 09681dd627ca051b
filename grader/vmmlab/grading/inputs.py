"""Inputs of a boot that vary with the seed: memory, command line, modules, init functions.

Only inputs: probes decide the order in which CPUs run, and the cohort the numbers that a copied
solution would hard-code.
"""

from __future__ import annotations

from vmmlab.base.choice import Choice
from vmmlab.course.cohort import TRAMPOLINE_MAX, Cohort
from vmmlab.probes.initfuncs import NESTED, NESTING

#: Ids that test the order: prefixes of each other, neighbours, and ids that are never called,
#: because they are only a part of what is asked for, or hold it, but not at their beginning.
_IDS = (
    "global0", "global00", "global2", "global3", "global5", "global55", "global9", "globa",
    "glob", "local0", "bsp", "bsp1", "bsp5", "ap", "ap1", "paral0", "paral00", "paral3", "pcpu",
    "pcpu7", "pcp", "my-global0", "a-bsp", "lap1", "globals", "bsp_last", "apx",
)  # fmt: skip
#: Pairs whose file names are in the opposite order, which exposes a comparison of only the part
#: that both ids have.
_OPPOSED = (("global0", "global00"), ("global5", "global55"), ("pcpu", "pcpu7"))
#: Ids of which there are two records that differ in nothing but the function.
_TWICE = ("global3", "local0", "paral3")
_INNER = (NESTED, f"{NESTED}0", f"{NESTED}3", NESTED[:-1], NESTED.replace("global", "bsp"))
"""The last two are not called: all but the end of them is that of NESTED."""
_NEST = "lea .Lnested(%rip), %rdi; jmp call_initfunc"
#: Files whose order is the opposite of that of their folders, for records with one id.
_FOLDERS = (("global2", "core/z.c"), ("global2", "drivers/a.c"))
#: An id that is never called and comes first in the order. Only every other seed has it, because it
#: would hide a loop that skips the first record.
_FIRST = "Global1"
_CALLED, _NOT_CALLED = "global4", ("Nobody", "Nobödy")
"""Of the second pair one is the smaller by strcmp, which compares unsigned bytes."""
_LONG = "_of_many_that_differ_only_in_the_last_characters" * 2
_LONG_PATH = "drivers/" + "of_many/" * 20


def memory_mib(seed: int, scenario: str) -> int:
    """Return the main memory of a boot, in MiB."""
    return Choice("vmmlab memory 1", seed, scenario).pick((48, 64, 80, 96))


def moved(seed: int, scenario: str, cohort: Cohort) -> int:
    """Return a value for `apinit_addr` other than the cohort's own, for the same APINIT_OFFSET.

    At most 16 bytes are left of its page, so the copy is in two pages. The second page begins at a
    multiple of 64 KiB, where an addition of 16 bits loses a carry. The copy at one place does not
    reach the other one.
    """
    chance = Choice("vmmlab moved trampoline 3", seed, scenario)
    while True:
        page = chance.between(1, 8) * 0x10000 + 0xF000
        last = page + 0xFFF - cohort.apinit_offset
        address = (last & -16) + cohort.apinit_offset
        if abs(address - cohort.apinit_addr) > 2 * TRAMPOLINE_MAX:
            return address


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

    Their ids, file names and order in the object vary with the seed. Some pairs have both the same
    id and the same file name: their order is not defined, but none of them may be lost. One
    function does something: it calls call_initfunc for a group of its own.

    Args:
        seed: decides everything.
        more: number of further functions, with long ids and file names that differ only at the end.
    """
    records = _records(Choice("vmmlab initfuncs 1", seed), bool(seed % 2), more)
    text, data, strings = [".text"], ['.section .initfunc, "aw", @progbits'], [".section .rodata"]
    functions: dict[str, str] = {}
    for number, (ident, filename) in enumerate(records):
        shared = ident.startswith(_NOT_CALLED)
        name = "initfunc_probe_shared" if shared else f"initfunc_probe_{number:02d}"
        functions[name] = _NEST if ident == NESTING else "ret"
        data += [f".quad .Lfile{number}, .Lid{number}, {name}"]
        strings += [_string(f".Lfile{number}", filename), _string(f".Lid{number}", ident)]
    for name, body in functions.items():
        text += [f".globl {name}", f".type {name}, @function", f"{name}: {body}"]
        text += [f".size {name}, . - {name}"]
    strings += [f'.Lnested: .asciz "{NESTED}"']
    note = ['.section .note.GNU-stack, "", @progbits']
    return "\n".join([*text, *data, *strings, *note]) + "\n"


def _string(label: str, text: str) -> str:
    """Return a C string with a label, in ASCII."""
    written = "".join(chr(byte) if byte < 0x80 else f"\\{byte:o}" for byte in text.encode())
    return f'{label}: .asciz "{written}"'


def _records(chance: Choice, first: bool, more: int) -> list[tuple[str, str]]:
    """Return ids and file names of init functions in the order in which they are linked."""
    wanted = [*_IDS, *(chance.pick(_IDS) for _ in range(6)), NESTING, *_INNER]
    wanted += [_FIRST] if first else []
    files = [f"{chance.pick('abcdxyz')}{n:02d}.c" for n in chance.some(len(wanted), range(100))]
    for short, long in _OPPOSED:
        one, two = wanted.index(short), wanted.index(long)
        files[one], files[two] = max(files[one], files[two]), min(files[one], files[two])
    records = list(zip(wanted, files, strict=True))
    records += [records[wanted.index(ident)] for ident in _TWICE]
    records += _FOLDERS
    called, ordered = _many(more)
    return ordered + chance.shuffled([*records, *called])


def _many(count: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return ids and file names of many further init functions: the called ones, the others.

    Half of the called ones have long names. The others only have to exist: they share one function,
    because each watched place makes the boot slower. With many that are equal, or in order already,
    or in the opposite order, some methods of sorting need most time, or most stack.
    """
    called, others = [], []
    for part in range(count):
        name = f"{('part', 'pärt')[part // 10 % 2]}{part:03d}.c"
        if part % 10 == 0:
            called.append((f"{_CALLED}{_LONG}{part // 40:03d}", f"{_LONG_PATH}{name}"))
        elif part % 5 == 0:
            called.append((f"{_CALLED}{part % 19}", name))
        else:
            others.append((f"{_NOT_CALLED[part % 2]}{part % 19}", name))
    equal = len(others) * 7 // 8
    ordered = sorted(others[equal:], key=lambda record: tuple(text.encode() for text in record))
    half = len(ordered) // 2
    return called, others[:1] * equal + ordered[:half] + ordered[half:][::-1]
