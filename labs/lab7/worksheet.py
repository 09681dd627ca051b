# %% [markdown]
# # Worksheet 7: a guest on every CPU
#
# Work out by hand what lab 7 is about: where a guest begins, what its exits say, and what is saved
# by whom. Read the handout of lab 7 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab7-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Where a guest begins
#
# A virtual CPU is to start in real mode, with selector `cs` in CS and with RIP `ip`.
#
# - `base`: what the field `cs.base` of the VMCB must be.
# - `begins_at`: the linear address of the guest's first instruction.
# - `without_base`: that address if the VMM puts the selector itself into `cs.base`.

# %% given="lab7-begin"
draw = worksheet.Numbers(me, "lab7-begin")
start = worksheet.Given(cs=draw.between(0x100, 0x9F00, 0x100), ip=draw.between(0x10, 0xFF0, 2))
start

# %% answer="lab7-begin"
base = None
begins_at = None
without_base = None
### BEGIN SOLUTION
base = 16 * start.cs
begins_at = base + start.ip
without_base = start.cs + start.ip
### END SOLUTION

# %% test="lab7-begin" points=3
check = worksheet.Check(3, me)
check.number("base", base)
check.number("begins_at", begins_at)
check.number("without_base", without_base)
### BEGIN HIDDEN TESTS
check.case(1, lambda at: at % 16 == 0 and at >> 4 == start.cs, "base")
check.case(1, lambda at: at - start.ip == start.cs << 4, "begins_at")
check.case(1, lambda at: at - start.cs == start.ip, "without_base")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. What an exit says
#
# A guest has exited with VMEXIT_IOIO. EXITINFO1 is `info1` (APM 15.10.2, and `include/svm.h`).
#
# - `port`: the number of the port.
# - `size`: how many bytes the guest reads or writes.
# - `reads`: whether it is an IN.

# %% given="lab7-ioio"
draw = worksheet.Numbers(me, "lab7-ioio")
left = worksheet.Given(
    info1=draw.between(0x40, 0xFFF0) << 16 | draw.pick([0x10, 0x20, 0x40]) | draw.below(2) | 0x200
)
left

# %% answer="lab7-ioio"
port = None
size = None
reads = None
### BEGIN SOLUTION
port = left.info1 >> 16
size = left.info1 >> 4 & 7
reads = bool(left.info1 & 1)
### END SOLUTION

# %% test="lab7-ioio" points=3
check = worksheet.Check(3, me)
check.number("port", port)
check.number("size", size)
check.flag("reads", reads)
### BEGIN HIDDEN TESTS
check.case(1, lambda number: number == left.info1 // 0x10000, "port")
check.case(1, lambda count: left.info1 & 0x70 == 16 * count, "size")
check.case(1, lambda into: into == (left.info1 % 2 == 1), "reads")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. A bit for each port
#
# The I/O permission map begins at physical address `iopm`. A VMM wants to know about each access to
# port `port`.
#
# - `byte_at`: the physical address of the byte that it has to change.
# - `mask`: what it has to OR to this byte.

# %% given="lab7-iopm"
draw = worksheet.Numbers(me, "lab7-iopm")
map_of = worksheet.Given(
    iopm=draw.between(0x180000, 0x7FF000, 0x1000),
    port=8 * draw.between(9, 0x1FFE) + draw.between(1, 7),
)
map_of

# %% answer="lab7-iopm"
byte_at = None
mask = None
### BEGIN SOLUTION
byte_at = map_of.iopm + map_of.port // 8
mask = 1 << map_of.port % 8
### END SOLUTION

# %% test="lab7-iopm" points=2
check = worksheet.Check(2, me)
check.number("byte_at", byte_at)
check.number("mask", mask)
### BEGIN HIDDEN TESTS
check.case(1, lambda at: 0 <= map_of.port - 8 * (at - map_of.iopm) < 8, "byte_at")
check.case(1, lambda bit: bit == 2 ** (map_of.port & 7), "mask")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. IN
#
# A guest's RAX is `rax`. It executes IN with a port that answers `value`, an integer of 32 bits of
# which IN takes as many as it needs.
#
# - `after_8`: RAX after an IN of 8 bits.
# - `after_16`: RAX after an IN of 16 bits.
# - `after_32`: RAX after an IN of 32 bits.

# %% given="lab7-in"
draw = worksheet.Numbers(me, "lab7-in")
asked = worksheet.Given(
    rax=draw.between(1 << 62, (1 << 64) - 1) | 1 << 40, value=draw.between(0x10000000, 0xFFFFFFFF)
)
asked

# %% answer="lab7-in"
after_8 = None
after_16 = None
after_32 = None
### BEGIN SOLUTION
after_8 = asked.rax & ~0xFF | asked.value & 0xFF
after_16 = asked.rax & ~0xFFFF | asked.value & 0xFFFF
after_32 = asked.value
### END SOLUTION

# %% test="lab7-in" points=3
check = worksheet.Check(3, me)
check.number("after_8", after_8)
check.number("after_16", after_16)
check.number("after_32", after_32)
### BEGIN HIDDEN TESTS


def changed(after, bits):
    """Return whether only the lowest bits have changed, to those of the answer."""
    part = 1 << bits
    return after // part == asked.rax // part and after % part == asked.value % part


check.case(1, lambda after: changed(after, 8), "after_8")
check.case(1, lambda after: changed(after, 16), "after_16")
check.case(1, lambda after: after == asked.value, "after_32")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Who takes care of it
#
# A guest exits and is run again. For each register in `registers`, in this order: who puts the
# guest's value away and brings it back?
#
# - `owners`: a list of `"vmrun"` (VMRUN and #VMEXIT), `"vmload"` (VMLOAD and VMSAVE) and `"code"`
#   (ordinary instructions of the VMM).

# %% given="lab7-owners"
draw = worksheet.Numbers(me, "lab7-owners")
crossing = worksheet.Given(
    registers=draw.shuffled(
        [
            draw.pick(["RAX", "RSP"]),
            draw.pick(["CR3", "EFER", "IDTR"]),
            draw.pick(["FS", "GS"]),
            draw.pick(["LDTR", "TR"]),
            draw.pick(["STAR", "KernelGSBase", "SYSENTER_EIP"]),
            draw.pick(["RBX", "RBP", "RDI"]),
            draw.pick(["R8", "R12", "R15"]),
        ]
    )
)
crossing

# %% answer="lab7-owners"
owners = None
### BEGIN SOLUTION
by_vmload = ("FS", "GS", "LDTR", "TR", "STAR", "KernelGSBase", "SYSENTER_EIP")
by_vmrun = ("RAX", "RSP", "CR3", "EFER", "IDTR")
owners = [
    "vmload" if one in by_vmload else "vmrun" if one in by_vmrun else "code"
    for one in crossing.registers
]
### END SOLUTION

# %% test="lab7-owners" points=3
check = worksheet.Check(3, me)
check.items("owners", owners, str, 7)
### BEGIN HIDDEN TESTS
right = {
    **dict.fromkeys(("RBX", "RBP", "RDI", "R8", "R12", "R15"), "code"),
    **dict.fromkeys(("RAX", "RSP", "CR3", "EFER", "IDTR"), "vmrun"),
}
for owner in ("vmrun", "vmload", "code"):
    check.case(
        1,
        lambda given, owner=owner: all(
            (one == owner) == (right.get(name, "vmload") == owner)
            for one, name in zip(given, crossing.registers)
        ),
        "owners",
    )
### END HIDDEN TESTS
check.points
