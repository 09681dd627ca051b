# %% [markdown]
# # Worksheet 10: the delayed start
#
# Work out by hand what lab 10 is about: where the firmware goes on as a guest, what a VMCB says of
# a segment, how often the BSP comes to a barrier, and which messages reach a processor. Read the
# handout of lab 10 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab10-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Where the guest goes on
#
# `frame.rsp` is `uefi_state.rsp`, and `frame.words` are the 64-bit words from there on, the lowest
# address first (`struct uefi_frame` in `include/uefi.h`). What must `svm_state_uefi` set?
#
# - `rip`, `rsp`: RIP and RSP of the guest.
# - `rsi`, `r12`: these registers of the guest.

# %% given="lab10-frame"
draw = worksheet.Numbers(me, "lab10-frame")
frame = worksheet.Given(
    rsp=draw.between(0x7E00000, 0x7EFF000, 8),
    words=[draw.between(0x1000000, 0x7FFFFFFF) << 3 | number for number in range(14)],
)
frame

# %% answer="lab10-frame"
rip = None
rsp = None
rsi = None
r12 = None
### BEGIN SOLUTION
rip = frame.words[9]
rsp = frame.rsp + 10 * 8
rsi = frame.words[5]
r12 = frame.words[4]
### END SOLUTION

# %% test="lab10-frame" points=4
check = worksheet.Check(4, me)
check.number("rip", rip, 64)
check.number("rsp", rsp, 64)
check.number("rsi", rsi, 64)
check.number("r12", r12, 64)
### BEGIN HIDDEN TESTS
names = ["rflags", "r15", "r14", "r13", "r12", "rsi", "rdi", "rbp", "rbx", "rip"]
held = dict(zip(names, frame.words, strict=False))
check.right(1, "rip", held["rip"])
check.right(1, "rsp", frame.rsp + 0x50)
check.right(1, "rsi", held["rsi"])
check.right(1, "r12", held["r12"])
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. A segment in a VMCB
#
# `gdt.entry` is a descriptor of a firmware's GDT, 64 bits. Bit 55 is G: the limit of 20 bits counts
# pages of 4 KiB, and the last byte of the last page belongs to it.
#
# - `attr`: the field `attr` of `struct vmcb_seg` for it.
# - `limit`: the field `limit`.

# %% given="lab10-segment"
draw = worksheet.Numbers(me, "lab10-segment")
gdt = worksheet.Given(
    entry=draw.between(0x100, 0xFFFF)
    | draw.pick([0x9B, 0x93, 0x9A, 0x92]) << 40
    | draw.between(0, 15) << 48
    | draw.pick([0xA, 0xC, 0x8]) << 52
)
gdt

# %% answer="lab10-segment"
attr = None
limit = None
### BEGIN SOLUTION
attr = (gdt.entry >> 40 & 0xFF) | (gdt.entry >> 52 & 0xF) << 8
pages = (gdt.entry & 0xFFFF) | (gdt.entry >> 48 & 0xF) << 16
limit = pages << 12 | 0xFFF
### END SOLUTION

# %% test="lab10-segment" points=2
check = worksheet.Check(2, me)
check.number("attr", attr, 16)
check.number("limit", limit, 32)
### BEGIN HIDDEN TESTS
high = gdt.entry >> 32
check.right(1, "attr", high // 0x100 % 0x100 + high // 0x100000 % 0x10 * 0x100)
check.right(1, "limit", (gdt.entry % 0x10000 + high // 0x10000 % 0x10 * 0x10000 + 1) * 4096 - 1)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. At the barriers
#
# Suppose that a VMM has `meet.rounds` barriers in `work_together` and `meet.barriers` in
# `create_pass_vm`, and that a machine with UEFI has `meet.aps` APs. `sync_id` begins with 0, and
# each time that all CPUs have arrived it grows by 1.
#
# - `alone`: `sync_id` when the BSP runs its guest for the first time.
# - `finally_`: `sync_id` when the APs wait for a SIPI of the guest.
# - `calls`: how often `sync_all_processors` has been called until then, by all CPUs together.

# %% given="lab10-barriers"
draw = worksheet.Numbers(me, "lab10-barriers")
meet = worksheet.Given(
    rounds=draw.between(2, 6), barriers=draw.between(3, 7), aps=draw.between(2, 9)
)
meet

# %% answer="lab10-barriers"
alone = None
finally_ = None
calls = None
### BEGIN SOLUTION
alone = meet.rounds + meet.barriers
finally_ = 2 * alone
calls = alone + alone * (meet.aps + 1)
### END SOLUTION

# %% test="lab10-barriers" points=3
check = worksheet.Check(3, me)
check.number("alone", alone, 16)
check.number("finally_", finally_, 16)
check.number("calls", calls, 16)
### BEGIN HIDDEN TESTS
each = meet.rounds + meet.barriers
check.right(1, "alone", each)
check.right(1, "finally_", each + each)
check.right(1, "calls", each * (meet.aps + 2))
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. What reaches a processor
#
# `log.sent` is what is written to the ICR after the BSP has returned to the firmware, in order: who
# writes, the VMM or its guest, and what. All of lab 9 and lab 10 is right.
#
# - `started`: the number, from 0, of the element during which `start` is called.
# - `reach`: the numbers of the guest's elements that the VMM writes to the real APIC.

# %% given="lab10-icr"
draw = worksheet.Numbers(me, "lab10-icr")
log = worksheet.Given(
    sent=[("guest", "fixed")] * draw.between(1, 3)
    + [("guest", "INIT"), ("vmm", "INIT"), ("vmm", "SIPI"), ("guest", "SIPI")]
    + [("guest", draw.pick(["fixed", "NMI", "SIPI"])) for _ in range(4)]
    + [("guest", "INIT"), ("guest", "SIPI")]
)
log

# %% answer="lab10-icr"
started = None
reach = None
### BEGIN SOLUTION
started = log.sent.index(("guest", "INIT"))
reach = [
    number
    for number, (who, what) in enumerate(log.sent)
    if who == "guest" and what not in ("INIT", "SIPI")
]
### END SOLUTION

# %% test="lab10-icr" points=2
check = worksheet.Check(2, me)
check.number("started", started, 8)
check.items("reach", reach, int)
### BEGIN HIDDEN TESTS
first = min(n for n, one in enumerate(log.sent) if tuple(one) == ("guest", "INIT"))
passed = {n for n, one in enumerate(log.sent) if one[0] == "guest" and one[1] in ("fixed", "NMI")}
check.right(1, "started", first)
check.case(1, lambda found: set(found) == passed, "reach")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Your own VMM
#
# If you have a workspace, boot it here and look at what really happened. This part earns no points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab10", workspace, reader=me)

# %% [markdown]
# ## 6. In your own words
#
# Write three or four sentences for each question. A person will read and grade them.
#
# **a.** Why is the guest's first INIT the right moment for the VMM to start the APs, and neither an
# earlier nor a later one?

# %% [markdown] manual="lab10-moment" points=3
# ### BEGIN SOLUTION
# Earlier, the APs belong to the firmware. It wakes them by INIT and SIPI whenever it needs them,
# and takes them away from whatever they do for the VMM. (1) Whoever sends INIT has given up what
# the AP did, so from that moment on nobody loses anything if the VMM has the AP. (1) Later would
# be too late: the INIT or SIPI of the guest would reach the real AP, which would then run the
# guest's code outside of the VMM; or it would be swallowed, and the guest would wait for ever.
# (1)
# ### END SOLUTION

# %% [markdown]
# **b.** A classmate's VMM boots an operating system under UEFI with all processors, and the grader
# takes points all the same. Name two mistakes of this lab with which that is possible, and say when
# each of them would show.

# %% [markdown] manual="lab10-silent" points=2
# ### BEGIN SOLUTION
# Two of these, one point each. The selectors as numbers: with another firmware. The VMM's EFER, or
# its bases of FS and GS: when the guest looks at them, which then knows of the VMM. RFLAGS without
# IF: when the firmware waits for its timer. MSRs left as they were in memory: when something uses
# SYSCALL. The trampoline at 0xF000: when the firmware uses that memory. A SIPI that is passed on,
# too: on an AP that waits for one at that moment.
# ### END SOLUTION
