# %% [markdown]
# # Worksheet 6: calling the firmware
#
# Work out by hand what lab 6 is about: memory from the top of low memory, the way between two
# worlds, Microsoft's calling convention, and an address that a far jump can name. Read the handout
# of lab 6 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab6-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. The top of low memory
#
# With a BIOS, the word at 0x413 is `low.word`. Two calls follow each other: first
# `alloc_realmodemem (low.first)`, then `alloc_realmodemem (low.second)`. Each takes whole KiB.
#
# - `word_after`: the word after both calls.
# - `address`: what the second call returns.

# %% given="lab6-low"
draw = worksheet.Numbers(me, "lab6-low")
low = worksheet.Given(
    word=draw.between(560, 639),
    first=draw.between(1025, 9000),
    second=1024 * draw.between(2, 9),
)
low

# %% answer="lab6-low"
word_after = None
address = None
### BEGIN SOLUTION
after_first = (low.word * 1024 - low.first) // 1024
word_after = (after_first * 1024 - low.second) // 1024
address = word_after * 1024
### END SOLUTION

# %% test="lab6-low" points=2
check = worksheet.Check(2, me)
check.number("word_after", word_after, 16)
check.number("address", address, 20)
### BEGIN HIDDEN TESTS
kib = low.word - -(-low.first // 1024) - low.second // 1024
check.right(1, "word_after", kib)
check.right(1, "address", kib * 1024)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. Who maps what
#
# After `mm_init` there are three sets of page tables: the VMM's (`"vmm"`), those of the APs
# (`"ap"`), and the firmware's (`"firmware"`), which map each address below 2 GiB to itself. Each
# element of `looks` is a set of page tables and a virtual address.
#
# - `faults`: the numbers, from 0, of the elements at which a load causes a page fault.

# %% given="lab6-maps"
draw = worksheet.Numbers(me, "lab6-maps")
maps = worksheet.Given(
    looks=[
        (
            draw.pick(["vmm", "ap"]),
            draw.pick(
                [draw.between(0x100000, 0x3FFFFFF0, 8), draw.between(0x40100000, 0x7FFFFFF0, 8)]
            ),
        )
        for _ in range(5)
    ]
    + [
        ("vmm", draw.between(0x100000, 0x3FFFFFF0, 8)),
        ("firmware", draw.between(0x100000, 0x3FFFFFF0, 8)),
    ],
)
maps

# %% answer="lab6-maps"
faults = None
### BEGIN SOLUTION
faults = [
    number
    for number, (tables, where) in enumerate(maps.looks)
    if tables == "vmm" and where < 0x40000000
]
### END SOLUTION

# %% test="lab6-maps" points=2
check = worksheet.Check(2, me)
check.items("faults", faults, int)
### BEGIN HIDDEN TESTS
missing = {n for n, (tables, where) in enumerate(maps.looks) if (tables, where >> 30) == ("vmm", 0)}
check.case(1, lambda found: len(missing ^ set(found)) <= 1, "faults")
check.case(1, lambda found: set(found) == missing, "faults")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. The firmware's stack
#
# `uefi_state.rsp` is `stack.rsp`; assume that a firmware has left it at an address that need not be
# a multiple of 16. You want to waste as little of the stack as possible.
#
# - `at_call`: RSP where the call instruction is.
# - `in_function`: RSP at the first instruction of the function.
# - `fourth`: the address at which the function may store R9, the fourth argument. (The four
#   arguments have their places in order, the first one at the lowest address.)

# %% given="lab6-stack"
draw = worksheet.Numbers(me, "lab6-stack")
stack = worksheet.Given(rsp=draw.between(0x7E00008, 0x7EFFFF8, 8) | 8)
stack

# %% answer="lab6-stack"
at_call = None
in_function = None
fourth = None
### BEGIN SOLUTION
at_call = (stack.rsp & ~15) - 32
in_function = at_call - 8
fourth = at_call + 24
### END SOLUTION

# %% test="lab6-stack" points=3
check = worksheet.Check(3, me)
check.number("at_call", at_call, 32)
check.number("in_function", in_function, 32)
check.number("fourth", fourth, 32)
### BEGIN HIDDEN TESTS
top = stack.rsp - stack.rsp % 16
check.right(1, "at_call", top - 0x20)
check.right(1, "in_function", top - 0x28)
check.right(1, "fourth", top - 8)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. From one convention to the other
#
# `registers` holds the registers at the first instruction of `uefi_call`.
#
# - `rcx`, `rdx`, `r8`, `r9`: these registers at the first instruction of the firmware's function.
# - `called`: the address of that function.

# %% given="lab6-registers"
draw = worksheet.Numbers(me, "lab6-registers")
registers = worksheet.Given(
    **{
        name: draw.between(0x100000, 0xFFFFFFFF) << 8 | number
        for number, name in enumerate(("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9"))
    }
)
registers

# %% answer="lab6-registers"
rcx = None
rdx = None
r8 = None
r9 = None
called = None
### BEGIN SOLUTION
rcx = registers.rsi
rdx = registers.rdx
r8 = registers.rcx
r9 = registers.r8
called = registers.rdi
### END SOLUTION

# %% test="lab6-registers" points=5
check = worksheet.Check(5, me)
check.number("rcx", rcx, 64)
check.number("rdx", rdx, 64)
check.number("r8", r8, 64)
check.number("r9", r9, 64)
check.number("called", called, 64)
### BEGIN HIDDEN TESTS
check.right(1, "rcx", registers.rsi)
check.right(1, "rdx", registers.rdx)
check.right(1, "r8", registers.rcx)
check.right(1, "r9", registers.r8)
check.right(1, "called", registers.rdi)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. An address for the trampoline
#
# The firmware has given memory at `memory`, a page boundary. `offset` is `APINIT_OFFSET`.
#
# - `place`: what `align_apinit_addr` returns.
# - `segment`: the segment of the far jump at physical address 0.

# %% given="lab6-place"
draw = worksheet.Numbers(me, "lab6-place")
far = worksheet.Given(memory=draw.between(0x20, 0x9E) << 12, offset=draw.between(0x11, 0x1FF) | 1)
far

# %% answer="lab6-place"
place = None
segment = None
### BEGIN SOLUTION
place = far.memory + far.offset % 16
segment = (place - far.offset) >> 4
### END SOLUTION

# %% test="lab6-place" points=2
check = worksheet.Check(2, me)
check.number("place", place, 20)
check.number("segment", segment, 16)
### BEGIN HIDDEN TESTS
check.right(1, "place", far.memory + (far.offset & 15))
check.right(1, "segment", (far.memory - far.offset // 16 * 16) // 16)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. Your own VMM
#
# If you have a workspace, boot it here with a BIOS and look at what really happened. This part
# earns no points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab6", workspace, reader=me)

# %% [markdown]
# ## 7. In your own words
#
# Write three or four sentences for each question. A person will read and grade them.
#
# **a.** A classmate starts the APs at once, by `ap_start`, on a machine with UEFI. It works: every
# AP comes up and waits at the barrier. Then the classmate calls a service of the firmware, and the
# VMM hangs. What has happened, and what would you do instead?

# %% [markdown] manual="lab6-owners" points=3
# ### BEGIN SOLUTION
# The APs still belong to the firmware. It wakes them by INIT and SIPI when it needs them, and INIT
# ends whatever an AP does. So the APs have left the VMM, and the BSP waits for them at the barrier
# forever. (2)
#
# The VMM must leave the APs to the firmware until an operating system starts them, and start its
# own code in that moment. (1)
# ### END SOLUTION

# %% [markdown]
# **b.** Most mistakes of this lab do not show in a boot. Name two of them, and for each say when it
# would show.

# %% [markdown] manual="lab6-silent" points=2
# ### BEGIN SOLUTION
# Two of these, one point each. No room for four arguments: when the function stores them there, and
# the overwritten words are needed later. A stack that is not aligned: in the first function that
# saves an SSE register with an aligned instruction. The VMM's IDT: when the firmware's timer ticks.
# The wrong memory type: when an operating system takes over that memory. Interrupts left on: when
# one comes after the VMM's IDT is loaded.
# ### END SOLUTION
