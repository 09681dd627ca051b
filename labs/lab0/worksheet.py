# %% [markdown]
# # Worksheet 0: warming up
#
# A short worksheet about counting addresses, how a boot loader finds the VMM, and the state of a PC
# just after power-on. Read the handout of lab 0 first. This is also how all worksheets work:
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab0-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. A range of memory
#
# A range of memory goes from `start` up to `end`. `end` itself does not belong to it: it is the
# first address after the range.
#
# - `in_kib`: its size in KiB (1 KiB is 1024 bytes).
# - `last`: the address of its last byte.

# %% given="lab0-piece"
draw = worksheet.Numbers(me, "lab0-piece")
start = draw.between(0x100000, 0x1F0000, 0x1000)
piece = worksheet.Given(start=start, end=start + draw.between(0x2400, 0x7FC00, 0x400))
del start
piece

# %% answer="lab0-piece"
in_kib = None
last = None
### BEGIN SOLUTION
in_kib = (piece.end - piece.start) // 1024
last = piece.end - 1
### END SOLUTION

# %% test="lab0-piece" points=2
check = worksheet.Check(2, me)
check.number("in_kib", in_kib, 32)
check.number("last", last, 32)
### BEGIN HIDDEN TESTS
check.case(1, lambda kib: piece.start + (kib << 10) == piece.end, "in_kib")
check.case(1, lambda at: at + 1 == piece.end, "last")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. Segment and offset
#
# An AP has stopped in real mode. gdb says that `$cs` is `cs` and `$rip` is `rip`.
#
# - `stands_at`: the physical address of the instruction that the AP executes next.
# - `offset`: the same address can be written with the segment `other`. Give the offset for it.

# %% given="lab0-segment"
draw = worksheet.Numbers(me, "lab0-segment")
cs = draw.between(0x0A01, 0x8FFF)
stopped = worksheet.Given(cs=cs, rip=draw.between(0x104, 0x1FFD), other=cs - draw.between(3, 0x7F))
del cs
stopped

# %% answer="lab0-segment"
stands_at = None
offset = None
### BEGIN SOLUTION
stands_at = 16 * stopped.cs + stopped.rip
offset = stands_at - 16 * stopped.other
### END SOLUTION

# %% test="lab0-segment" points=2
check = worksheet.Check(2, me)
check.number("stands_at", stands_at, 21)
check.number("offset", offset, 16)
### BEGIN HIDDEN TESTS
check.right(1, "stands_at", (stopped.cs << 4) + stopped.rip)
check.right(1, "offset", stopped.rip + ((stopped.cs - stopped.other) << 4))
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. Two addresses for one byte
#
# The VMM is linked for virtual addresses from `0x40000000` on. This range shows physical memory a
# second time, from physical address 0 on. It is called the *alias*.
#
# - `seen_at`: the alias address of the byte at the physical address `physical`.
# - `lies_at`: the linker gave a function the virtual address `function`. Give the physical address
#   of the function.

# %% given="lab0-alias"
draw = worksheet.Numbers(me, "lab0-alias")
names = worksheet.Given(
    physical=draw.between(0x9003, 0x9FFFB),
    function=0x40000000 + draw.between(0x101010, 0x11FFF0, 16),
)
names

# %% answer="lab0-alias"
seen_at = None
lies_at = None
### BEGIN SOLUTION
seen_at = 0x40000000 + names.physical
lies_at = names.function - 0x40000000
### END SOLUTION

# %% test="lab0-alias" points=2
check = worksheet.Check(2, me)
check.number("seen_at", seen_at)
check.number("lies_at", lies_at)
### BEGIN HIDDEN TESTS
check.case(1, lambda at: at - (1 << 30) == names.physical, "seen_at")
check.case(1, lambda at: at + (1 << 30) == names.function, "lies_at")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. How a boot loader recognises the VMM
#
# A boot loader that follows the Multiboot specification looks for a *header* near the beginning of
# the file. The header consists of three `u32`, each stored with the lowest byte first: the magic
# number `0x1BADB002`, the flags, and a checksum. Their sum must be 0 in 32-bit arithmetic, where
# any carry out of bit 31 is dropped. The VMM's own header is in `boot/entry.S`.
#
# - `checksum`: the third word of a header with the flags `flags`.
# - `header`: the 12 bytes of this header, in the order in which they are stored in the file.
# - `valid`: a boot loader accepts exactly one of the four `headers`. Give its number, from 0.

# %% given="lab0-header"
draw = worksheet.Numbers(me, "lab0-header")
flags = draw.between(0x0001, 0x7FFF, 2) | draw.pick([0, 0x10000])
bits = [draw.between(0x0002, 0x7FFE, 4) for _ in range(4)]
words = [
    (0x1BADB002, bits[0], -(0x1BADB002 + bits[0]) % (1 << 32)),
    (0x2BADB002, bits[1], -(0x2BADB002 + bits[1]) % (1 << 32)),
    (0x1BADB002, bits[2], 0x1BADB002 + bits[2]),
    (0x1BADB002, bits[3], -(0x1BADB002 + bits[3]) % (1 << 32) - 1),
]
found = worksheet.Given(
    flags=flags,
    headers=draw.shuffled([b"".join(word.to_bytes(4, "little") for word in w) for w in words]),
)
del flags, bits, words
found

# %% answer="lab0-header"
checksum = None
header = None
valid = None
### BEGIN SOLUTION
checksum = -(0x1BADB002 + found.flags) % (1 << 32)
header = b"".join(word.to_bytes(4, "little") for word in (0x1BADB002, found.flags, checksum))


def accepted(words):
    """Check a header as a boot loader does."""
    three = [int.from_bytes(words[at : at + 4], "little") for at in (0, 4, 8)]
    return three[0] == 0x1BADB002 and sum(three) % (1 << 32) == 0


valid = [accepted(one) for one in found.headers].index(True)
### END SOLUTION

# %% test="lab0-header" points=3
check = worksheet.Check(3, me)
check.number("checksum", checksum, 32)
check.code("header", header, 12)
check.number("valid", valid, 2)
### BEGIN HIDDEN TESTS
import struct

check.case(1, lambda third: 0x1BADB002 + found.flags + third == 1 << 32, "checksum")
check.case(
    1,
    lambda code: (
        struct.unpack("<3I", code)
        == (0x1BADB002, found.flags, (1 << 32) - 0x1BADB002 - found.flags)
    ),
    "header",
)
taken = [
    number
    for number, one in enumerate(found.headers)
    if one.startswith(b"\x02\xb0\xad\x1b") and sum(struct.unpack("<3I", one)) & 0xFFFFFFFF == 0
]
check.case(1, lambda number: [number] == taken, "valid")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Power-on
#
# A PC is switched on. Later the firmware will write the APIC ids of the processors into the ACPI
# table, in the order `ids`. The hardware has selected `bsp` as the BSP.
#
# - `waiting`: a list of the ids of the processors that execute nothing until INIT and SIPI arrive.
# - `there`: a list of those `parts` that are already there when the BSP executes its very first
#   instruction. No software has run before that.

# %% given="lab0-power"
draw = worksheet.Numbers(me, "lab0-power")
ids = draw.some(5, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14])
there_are = draw.some(3, ["registers", "firmware", "real mode", "local APIC"])
there_are += draw.some(
    3, ["operating system", "page tables", "stack", "running APs", "VMM", "free memory list"]
)
power = worksheet.Given("ids", "bsp", ids=ids, bsp=draw.pick(ids), parts=draw.shuffled(there_are))
del ids, there_are
power

# %% answer="lab0-power"
waiting = None
there = None
### BEGIN SOLUTION
waiting = [one for one in power.ids if one != power.bsp]
there = [one for one in power.parts if one in ("registers", "firmware", "real mode", "local APIC")]
### END SOLUTION

# %% test="lab0-power" points=3
check = worksheet.Check(3, me)
check.items("waiting", waiting, int)
check.items("there", there, str)
### BEGIN HIDDEN TESTS
check.case(1, lambda ids: sorted([*ids, power.bsp]) == sorted(power.ids), "waiting")
made_by_software = {"operating system", "page tables", "stack", "running APs", "VMM"}
hardware = set(power.parts) - made_by_software - {"free memory list"}
check.case(1, lambda named: named and len(hardware ^ set(named)) <= 1, "there")
check.case(1, lambda named: set(named) == hardware, "there")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. Look at it from outside
#
# If you have a workspace, boot the given VMM here. Everything shown below was read from outside
# while the machine was stopped: where each CPU was, in which mode, and on which stack. This part
# earns no points. Which CPU sent INIT and SIPI? Where does an AP get its own stack?

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab0", workspace, reader=me)

# %% [markdown]
# ## 7. In your own words
#
# Write three or four sentences. A person will read and grade them.
#
# The VMM prints `Processor 3 (AP)`. Why does this line not prove that an AP has completed the
# bring-up? What would prove it?

# %% [markdown] manual="lab0-outside" points=3
# ### BEGIN SOLUTION
# Any code can print any text. The line could come from the BSP or from a CPU on a wrong stack, and
# the failure could come later. A student who only wants points could simply print it. (1.5)
#
# Only observation from outside is proof: this CPU executed the instructions of the bring-up, its
# registers were right at certain places, and it is in `vmm_parked` in the end. (1.5)
# ### END SOLUTION
