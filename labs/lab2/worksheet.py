# %% [markdown]
# # Worksheet 2: a stack for the BSP
#
# Work out by hand what lab 2 is about: where a stack begins and ends, what changes RSP, and what is
# stored at the address in RSP. Read the handout of lab 2 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab2-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Both ends of a stack
#
# `alloc` returned `base`. The block has `size` bytes and is used as a stack.
#
# - `rsp`: RSP at the first instruction that runs on this stack, while the stack is empty.
# - `last_byte`: the highest address that belongs to the block.
# - `pushed`: RSP after `push %rax` has been executed `pushes` times.

# %% given="lab2-ends"
draw = worksheet.Numbers(me, "lab2-ends")
block = worksheet.Given(
    "pushes",
    base=0x40000000 + draw.between(0x240000, 0x7F0000, 0x1000),
    size=draw.between(0x3000, 0xF000, 0x1000),
    pushes=draw.between(3, 90),
)
block

# %% answer="lab2-ends"
rsp = None
last_byte = None
pushed = None
### BEGIN SOLUTION
rsp = block.base + block.size
last_byte = rsp - 1
pushed = rsp - 8 * block.pushes
### END SOLUTION

# %% test="lab2-ends" points=3
check = worksheet.Check(3, me)
check.number("rsp", rsp)
check.number("last_byte", last_byte)
check.number("pushed", pushed)
### BEGIN HIDDEN TESTS
check.case(1, lambda top: top - block.size == block.base, "rsp")
check.case(1, lambda last: last == block.base + block.size - 1, "last_byte")
check.case(1, lambda low: low + 8 * block.pushes == block.base + block.size, "pushed")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. What `call` stores
#
# At the address `at` there is a `call` instruction of `length` bytes. Before it, RSP is `rsp`.
#
# - `rsp_inside`: RSP at the first instruction of the called function.
# - `stored`: the eight bytes at that RSP, in the order of their addresses, written as
#   `bytes.fromhex("…")`.

# %% given="lab2-call"
draw = worksheet.Numbers(me, "lab2-call")
call = worksheet.Given(
    "length",
    at=0x40100000 + draw.between(0x1234, 0xFFFE0),
    length=draw.pick([2, 3, 5, 6]),
    rsp=0x40000000 + draw.between(0x240010, 0x7F0000, 16),
)
call

# %% answer="lab2-call"
rsp_inside = None
stored = None
### BEGIN SOLUTION
rsp_inside = call.rsp - 8
stored = (call.at + call.length).to_bytes(8, "little")
### END SOLUTION

# %% test="lab2-call" points=3
check = worksheet.Check(3, me)
check.number("rsp_inside", rsp_inside)
check.code("stored", stored, 8)
### BEGIN HIDDEN TESTS
check.case(1, lambda inside: call.rsp - inside == 8, "rsp_inside")
check.case(1, lambda code: int.from_bytes(code, "little") - call.at == call.length, "stored")
check.case(
    1,
    lambda code: int.from_bytes(code, "little") - call.at in range(16),
    "stored",
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. A multiple of 16
#
# The calling convention of C on x86-64 requires RSP to be a multiple of 16 *before* each `call`. A
# function begins with `push %rbp` and pushes `more` other registers. Then it subtracts a number
# from RSP, to make room for at least `room` bytes of local variables. After that it calls other
# functions.
#
# - `entered_by_call`: the smallest number that it may subtract if it was called in the usual way.
# - `entered_by_jmp`: the smallest number if it was entered by a jump, with RSP at the top of an
#   empty stack, as you enter `bspinitproc1`.

# %% given="lab2-align"
draw = worksheet.Numbers(me, "lab2-align")
frame = worksheet.Given("more", "room", more=draw.between(0, 4), room=draw.between(9, 400))
frame

# %% answer="lab2-align"
entered_by_call = None
entered_by_jmp = None
### BEGIN SOLUTION


def smallest(used):
    """Return the first number from `room` on that makes RSP a multiple of 16."""
    number = frame.room
    while (used + number) % 16:
        number += 1
    return number


pushes = 8 + 8 * frame.more
entered_by_call = smallest(8 + pushes)
entered_by_jmp = smallest(pushes)
### END SOLUTION

# %% test="lab2-align" points=2
check = worksheet.Check(2, me)
check.number("entered_by_call", entered_by_call, 16)
check.number("entered_by_jmp", entered_by_jmp, 16)
### BEGIN HIDDEN TESTS


def fits(number, words):
    return 0 <= number - frame.room < 16 and (number + 8 * words) % 16 == 0


check.case(1, lambda number: fits(number, frame.more + 2), "entered_by_call")
check.case(1, lambda number: fits(number, frame.more + 1), "entered_by_jmp")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. The trap at `-O0`
#
# Without optimisation `asm_wrrsp_and_jmp` begins with `push %rbp; mov %rsp, %rbp` and keeps its
# argument `jmpto` at `-distance(%rbp)`. After these two instructions RBP is `rbp`.
#
# - `lies_at`: the address at which `jmpto` is stored.
# - `read_at`: the address from which `jmp *-distance(%rbp)` reads if it comes after `xor %ebp,
#   %ebp`. Addresses have 64 bits.
# - `return_at`: the address at which the return address of `asm_wrrsp_and_jmp` is stored.

# %% given="lab2-frame"
draw = worksheet.Numbers(me, "lab2-frame")
trap = worksheet.Given(
    rbp=0x40000000 + draw.between(0x110010, 0x1FF000, 16), distance=draw.between(0x10, 0xF8, 8)
)
trap

# %% answer="lab2-frame"
lies_at = None
read_at = None
return_at = None
### BEGIN SOLUTION
lies_at = trap.rbp - trap.distance
read_at = (1 << 64) - trap.distance
return_at = trap.rbp + 8
### END SOLUTION

# %% test="lab2-frame" points=3
check = worksheet.Check(3, me)
check.number("lies_at", lies_at)
check.number("read_at", read_at)
check.number("return_at", return_at)
### BEGIN HIDDEN TESTS
check.case(1, lambda at: at + trap.distance == trap.rbp, "lies_at")
check.case(1, lambda at: at + trap.distance == 2**64, "read_at")
check.case(1, lambda at: at - trap.rbp == 8, "return_at")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Whose stack is this?
#
# `stacks` holds the names and the bases of four adjacent stacks of `size` bytes each. The grader
# stopped CPUs and found the RSPs in `rsps`. Some stacks may be empty; no stack is completely full.
#
# - `owners`: a list with one entry for each RSP: the name of the stack that it is on, or `"none"`.

# %% given="lab2-owner"
draw = worksheet.Numbers(me, "lab2-owner")
size = draw.pick([0x4000, 0x6000, 0x8000, 0xC000])
first = 0x40000000 + draw.between(0x240000, 0x3F0000, 0x1000)
bases = [first + size * number for number in range(4)]
names = draw.shuffled(["bsp", "ap1", "ap2", "ap3"])
owned = worksheet.Given(
    size=size,
    stacks=dict(zip(names, bases)),
    rsps=draw.shuffled(
        [
            bases[0] + size,
            bases[draw.below(4)] + draw.between(8, size - 8, 8),
            bases[draw.between(1, 2)] + size,
            bases[3] + size + draw.between(8, 0x800, 8),
            bases[draw.below(4)] + draw.between(8, size - 8, 8),
        ]
    ),
)
del size, first, bases, names
owned

# %% answer="lab2-owner"
owners = None
### BEGIN SOLUTION
owners = []
for one in owned.rsps:
    on = [name for name, base in owned.stacks.items() if base < one <= base + owned.size]
    owners += on or ["none"]
### END SOLUTION

# %% test="lab2-owner" points=3
check = worksheet.Check(3, me)
check.items("owners", owners, str, 5)
### BEGIN HIDDEN TESTS


def owner_of(address):
    """Return the stack whose bytes a push at RSP = `address` would write."""
    for name, base in owned.stacks.items():
        if 0 <= address - 1 - base < owned.size:
            return name
    return "none"


def right_ones(names):
    return sum(name == owner_of(rsp) for name, rsp in zip(names, owned.rsps))


check.case(1, lambda names: right_ones(names) >= 3, "owners")
check.case(1, lambda names: right_ones(names) >= 4, "owners")
check.case(1, lambda names: right_ones(names) == 5, "owners")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. What went wrong?
#
# Four students booted once each. `seen` holds what the grader saw at the first instruction of
# `bspinitproc1`: the address that `alloc` had returned, and RSP. `VMM_STACKSIZE` is `size`.
#
# - `verdicts`: a list of four entries, each one of `"right"`, `"base"` (RSP is at the wrong end),
#   `"call"` (instead of `jmp`), `"size"` (a size other than `VMM_STACKSIZE`) or `"boot stack"` (RSP
#   was not set).

# %% given="lab2-verdicts"
draw = worksheet.Numbers(me, "lab2-verdicts")
size = draw.pick([0x4000, 0x6000, 0xC000])
kinds = draw.some(4, [size, 0, size - 8, 0x8000, None])
seen = []
for kind in kinds:
    at = 0x40000000 + draw.between(0x240000, 0x3F0000, 0x1000)
    on_boot_stack = 0x40110000 + draw.between(0x1E00, 0x1FF0, 8)
    seen.append((at, on_boot_stack if kind is None else at + kind))
boots = worksheet.Given(size=size, seen=seen)
del size, kinds, seen, kind, at, on_boot_stack
boots

# %% answer="lab2-verdicts"
verdicts = None
### BEGIN SOLUTION
by_distance = {boots.size: "right", 0: "base", boots.size - 8: "call", 0x8000: "size"}
verdicts = [by_distance.get(rsp - base, "boot stack") for base, rsp in boots.seen]
### END SOLUTION

# %% test="lab2-verdicts" points=3
check = worksheet.Check(3, me)
check.items("verdicts", verdicts, str, 4)
### BEGIN HIDDEN TESTS


def verdict(base, rsp):
    if rsp < base:
        return "boot stack"
    if rsp == base:
        return "base"
    lacking = base + boots.size - rsp
    return {0: "right", 8: "call"}.get(lacking, "size")


def right_verdicts(words):
    return sum(word == verdict(*boot) for word, boot in zip(words, boots.seen))


check.case(1, lambda words: right_verdicts(words) >= 2, "verdicts")
check.case(1, lambda words: right_verdicts(words) >= 3, "verdicts")
check.case(1, lambda words: right_verdicts(words) == 4, "verdicts")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 7. The switch itself
#
# Write the instructions of `asm_wrrsp_and_jmp` in 64-bit code. The new RSP is in the register
# `new_rsp`, the address to jump to is in the register `jmpto`. Afterwards RBP must be 0, and
# nothing may have been written to memory. `switch` is the machine code. Let the assembler generate
# it:
#
# `switch = worksheet.assemble ("nop; nop", 64, att=True)`
#
# `att=True` selects AT&T syntax, as in the files of the VMM. Without it, the syntax is Intel's.

# %% given="lab2-switch"
draw = worksheet.Numbers(me, "lab2-switch")
new_rsp, jmpto = draw.some(2, ["rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11"])
registers = worksheet.Given(new_rsp=new_rsp, jmpto=jmpto)
del new_rsp, jmpto
registers

# %% answer="lab2-switch"
switch = None
### BEGIN SOLUTION
switch = worksheet.assemble(
    f"xor %ebp, %ebp; mov %{registers.new_rsp}, %rsp; jmp *%{registers.jmpto}", 64, att=True
)
### END SOLUTION

# %% [markdown]
# Try it: this cell executes your instructions on an emulated CPU.

# %%
if switch:
    before = {registers.new_rsp: 0x41238000, registers.jmpto: 0x40105678, "rbp": 0x5A5A}
    after = worksheet.run(switch, 64, registers=before)
    print(worksheet.disassemble(switch, 64))
    print(f"RIP {after.address:#x}, RSP {after.registers['rsp']:#x}, {after.written=}")

# %% test="lab2-switch" points=4
check = worksheet.Check(4, me)
check.code("switch", switch)
### BEGIN HIDDEN TESTS


def all_runs(code, holds):
    """Return whether `holds` is true after two runs that both end at their targets."""
    for stack, target in ((0x41238000, 0x40105678), (0x6FFF0000, 0x40223344)):
        before = {registers.new_rsp: stack, registers.jmpto: target, "rbp": 0x123456789ABC}
        after = worksheet.run(code, 64, registers={"rsp": 0x40111F80, **before})
        if after.address != target or not holds(after, stack):
            return False
    return True


check.case(1, lambda code: all_runs(code, lambda after, stack: True), "switch")
check.case(
    1, lambda code: all_runs(code, lambda after, top: after.registers["rsp"] == top), "switch"
)
check.case(1, lambda code: all_runs(code, lambda after, _: not after.registers["rbp"]), "switch")
check.case(1, lambda code: all_runs(code, lambda after, _: not after.written), "switch")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 8. Your own VMM
#
# If you have a workspace, boot it here and look at the RSP of each AP, first on the boot stack and
# then on its own stack. How do these values differ from AP to AP? This part earns no points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab2", workspace, reader=me)

# %% [markdown]
# ## 9. In your own words
#
# Write three or four sentences for each question. A person will read and grade them.
#
# **a.** A student leaves out the stack switch and calls `bspinitproc1` directly. With one CPU
# everything works. What happens with two CPUs, when, and to which CPU?

# %% [markdown] manual="lab2-left-out" points=3
# ### BEGIN SOLUTION
# The BSP stays on the boot stack. This does no harm as long as no other CPU uses the boot stack.
# With one CPU, that is always the case. (1)
#
# The first AP starts at the top of the boot stack and overwrites the return addresses and local
# variables of the BSP. (1)
#
# At that moment nothing happens to the BSP. It crashes when it returns from a function or uses a
# variable, perhaps much later, and in a place that is unrelated to the mistake. (1)
# ### END SOLUTION

# %% [markdown]
# **b.** Why must the inline assembly have the clobber `"memory"`, although it writes nothing to
# memory?

# %% [markdown] manual="lab2-memory" points=3
# ### BEGIN SOLUTION
# The compiler does not read the instructions. It assumes that they use nothing but the operands.
# (1)
#
# It may then delay or omit an earlier store, such as the store to `currentcpu->stackaddr`, because
# this function never reads the value again. (1)
#
# `"memory"` says that the instructions may read any memory, so all stores must have been made. This
# is true here: the code at the target of the jump reads what was stored before. (1)
# ### END SOLUTION
