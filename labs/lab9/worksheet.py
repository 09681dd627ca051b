# %% [markdown]
# # Worksheet 9: the guest's processors
#
# Work out by hand what lab 9 is about: whom a write to the ICR is for, where a SIPI lets a
# processor begin, in which state a virtual CPU is, and what an instruction writes to the APIC.
# Read the handout of lab 9 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab9-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Who is meant
#
# A guest has virtual CPUs with the APIC ids `ipi.ids`. The one with the id `ipi.sender` writes
# these values to the low half of its ICR, in xAPIC mode. The high half is `ipi.high` each time.
# Which APIC ids are meant?
#
# - `first`: the ids that `ipi.low[0]` is for, as a list.
# - `second`: those that `ipi.low[1]` is for.
# - `third`: those that `ipi.low[2]` is for.

# %% given="lab9-icr"
draw = worksheet.Numbers(me, "lab9-icr")
ids = [draw.between(0, 3), draw.between(4, 7), draw.between(8, 11), draw.between(12, 15)]
vector = draw.between(0x10, 0x9F)
ipi = worksheet.Given(
    ids=ids,
    sender=draw.pick(ids),
    high=draw.pick(ids) << 24,
    low=[0x4600 | vector, draw.pick([0x44500, 0xC4500, 0x84500]), 0x4D00],
)
ipi

# %% answer="lab9-icr"
first = None
second = None
third = None
### BEGIN SOLUTION
first = [ipi.high >> 24]
second = {
    0x44500: [ipi.sender],
    0xC4500: [one for one in ipi.ids if one != ipi.sender],
    0x84500: list(ipi.ids),
}[ipi.low[1]]
third = []
### END SOLUTION

# %% test="lab9-icr" points=3
check = worksheet.Check(3, me)
check.items("first", first, int)
check.items("second", second, int)
check.items("third", third, int)
### BEGIN HIDDEN TESTS
how = ipi.low[1] >> 18 & 3
others = set(ipi.ids) - {ipi.sender}
meant = {1: {ipi.sender}, 2: others | {ipi.sender}, 3: others}[how]
check.case(1, lambda found: set(found) == {ipi.high // 0x1000000}, "first")
check.case(1, lambda found: set(found) == meant, "second")
check.case(1, lambda ids, found: set(ids) == meant and found == [], "second", "third")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. Where it begins
#
# The guest writes `sipi.low` to the low half of its ICR. For each virtual CPU that waits and is
# meant, what are the arguments of `svm_reset`, and at which guest-physical address is the first
# instruction?
#
# - `cs`, `ip`: the second and the third argument.
# - `address`: the address of the first instruction.

# %% given="lab9-sipi"
draw = worksheet.Numbers(me, "lab9-sipi")
sipi = worksheet.Given(low=0xC4600 | draw.between(0x11, 0x9F))
sipi

# %% answer="lab9-sipi"
cs = None
ip = None
address = None
### BEGIN SOLUTION
cs = (sipi.low & 0xFF) << 8
ip = 0
address = (sipi.low & 0xFF) << 12
### END SOLUTION

# %% test="lab9-sipi" points=3
check = worksheet.Check(3, me)
check.number("cs", cs, 16)
check.number("ip", ip, 16)
check.number("address", address, 32)
### BEGIN HIDDEN TESTS
page = sipi.low % 256
check.right(1, "cs", page * 256)
check.case(1, lambda high, low: high == page * 256 and low == 0, "cs", "ip")
check.right(1, "address", page * 4096)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. What became of it
#
# A virtual CPU waits for a SIPI. `signals.come` are the signals that come to it, in order: `0x100`
# is an INIT, another number is the vector of a SIPI. At each `0x200` the CPU looks, and obeys what
# has come: then it begins, if it can. At all other times it stands still.
#
# - `begins`: the vectors at which it begins, in order, as a list.
# - `last`: `v->startup` at the end: `0x100` (VCPU_WAITS), `0x200` (VCPU_RUNS) or a vector.

# %% given="lab9-states"
draw = worksheet.Numbers(me, "lab9-states")
v = [0x20 + 0x10 * number + draw.between(0, 15) for number in range(6)]
middle = [[v[3], 0x100, v[4], 0x200], [v[3], v[4], 0x200, v[2]], [0x200, v[3], v[4], 0x200]]
ending = [[0x100, v[5], v[0]], [v[5], 0x100, 0x200], [v[5], 0x200, v[1]]]
signals = worksheet.Given(
    come=[v[0], v[1], 0x200, v[2], 0x100, *draw.pick(middle), *draw.pick(ending)]
)
signals

# %% answer="lab9-states"
begins = None
last = None
### BEGIN SOLUTION
begins = []
last = 0x100
for one in signals.come:
    if one == 0x100:
        last = 0x100
    elif one == 0x200:
        if last < 0x100:
            begins.append(last)
            last = 0x200
    elif last == 0x100:
        last = one
### END SOLUTION

# %% test="lab9-states" points=3
check = worksheet.Check(3, me)
check.items("begins", begins, int)
check.number("last", last, 16)
### BEGIN HIDDEN TESTS
waits, pending, seen = True, None, []
for one in signals.come:
    if one == 0x100:
        waits, pending = True, None
    elif one != 0x200:
        pending = one if waits and pending is None else pending
    elif waits and pending is not None:
        seen.append(pending)
        waits, pending = False, None
end = 0x200 if not waits else 0x100 if pending is None else pending
check.case(2, lambda found: list(found) == seen, "begins")
check.right(1, "last", end)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. What it writes
#
# A guest in 64-bit mode has exited with a nested page fault at the APIC. The bytes at its RIP
# begin with `mov.code`. It is MOV of 32 bits with a constant (C7 /0) to an address that is RBX
# plus a displacement of 32 bits (APM volume 3, MOV and 1.4).
#
# - `offset`: the displacement.
# - `value`: what the guest writes.
# - `length`: the length of the instruction in bytes.

# %% given="lab9-decode"
draw = worksheet.Numbers(me, "lab9-decode")
where, what = draw.between(0x20, 0x3E0, 0x10), draw.between(0x01010101, 0x0EFEFEFE)
mov = worksheet.Given(
    code=" ".join(
        f"{one:02x}"
        for one in b"\xc7\x83"
        + where.to_bytes(4, "little")
        + what.to_bytes(4, "little")
        + b"\xeb\xfe"
    )
)
mov

# %% answer="lab9-decode"
offset = None
value = None
length = None
### BEGIN SOLUTION
code = bytes.fromhex(mov.code)
offset = int.from_bytes(code[2:6], "little")
value = int.from_bytes(code[6:10], "little")
length = 10
### END SOLUTION

# %% test="lab9-decode" points=3
check = worksheet.Check(3, me)
check.number("offset", offset, 32)
check.number("value", value, 32)
check.number("length", length, 8)
### BEGIN HIDDEN TESTS
raw = [int(one, 16) for one in mov.code.split()]
place = raw[2] + raw[3] * 256
check.right(1, "offset", place)
check.right(1, "value", sum(one << 8 * n for n, one in enumerate(raw[6:10])))
check.case(1, lambda at, size: at == place and size == 1 + 1 + 4 + 4, "offset", "length")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Your own VMM
#
# If you have a workspace, boot it here and look at what really happened. This part earns no points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab9", workspace, reader=me)

# %% [markdown]
# ## 6. In your own words
#
# Write three or four sentences for each question. A person will read and grade them.
#
# **a.** In a classmate's `localapic_enter` the look at `v->startup` comes first, and CLGI right
# before VMRUN. Describe, step by step, how an INIT is lost. Why does the guest not notice at once?

# %% [markdown] manual="lab9-race" points=3
# ### BEGIN SOLUTION
# The CPU looks, and finds that it may run. Then another CPU changes v->startup and sends the NMI.
# (1) GIF is still 1, so the NMI goes to the VMM's handler, which returns; now CLGI and VMRUN
# follow, and no NMI waits any more. (1) The guest runs on with its old state until it exits for
# another reason, for which it may take any time. The CPU that has sent INIT and SIPI waits for a
# processor that never begins. (1)
# ### END SOLUTION

# %% [markdown]
# **b.** Suppose that `localapic_signal_init` waited until the other CPU has left its guest.
# Describe a guest that this VMM would stop for ever. Is there one with a single CPU?

# %% [markdown] manual="lab9-waits" points=2
# ### BEGIN SOLUTION
# Two virtual CPUs send INIT to each other at the same time. Both are in the VMM, in
# localapic_signal_init, and neither comes to localapic_enter, where it would notice. (1) With one
# CPU an INIT to itself is enough: it waits for itself. (1)
# ### END SOLUTION
