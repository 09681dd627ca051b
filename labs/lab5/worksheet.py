# %% [markdown]
# # Worksheet 5: panic on every CPU
#
# Work out by hand what an NMI is sent with, whom it reaches, and what it finds there. Read the
# handout of lab 5 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab5-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Whom does it reach?
#
# A machine has CPUs with the APIC ids `ids`. The CPU with the id `sender` writes the pairs in
# `writes` to the interrupt command register, one after the other: the high half, then the low half.
#
# - `reached`: the list of the ids of all CPUs that are sent at least one NMI.
# - `twice`: the list of those that are sent more than one.

# %% given="lab5-reached"
draw = worksheet.Numbers(me, "lab5-reached")
ids = draw.some(7, range(1, 60))
one, other, third = draw.some(3, ids[1:])
reaching = worksheet.Given(
    ids=ids,
    sender=ids[0],
    writes=draw.shuffled(
        [
            (one << 24, 0x4400),
            (other << 24, 0x4400 + draw.between(1, 0xFF)),
            (third << 24, 0x4002),
            draw.pick([(one << 24, 0x4400), (other << 24, 0x4400)]),
            draw.pick([(0, 0xC4500), (0, 0x44400)]),
        ]
    ),
)
del ids, one, other, third
reaching

# %% answer="lab5-reached"
reached = None
twice = None
### BEGIN SOLUTION


def reached_by(high, low):
    """Return the ids of the CPUs that one write sends an NMI to."""
    if low >> 8 & 7 != 4:
        return []
    if low >> 18 & 3 == 1:
        return [reaching.sender]
    return [one for one in reaching.ids if one == high >> 24]


everyone = [one for write in reaching.writes for one in reached_by(*write)]
reached = sorted({*everyone})
twice = [one for one in reached if everyone.count(one) > 1]
### END SOLUTION

# %% test="lab5-reached" points=3
check = worksheet.Check(3, me)
check.items("reached", reached, int)
check.items("twice", twice, int)
### BEGIN HIDDEN TESTS
counted = dict.fromkeys(reaching.ids, 0)
for high, low in reaching.writes:
    if low & 0x700 == 0x400:
        counted[reaching.sender if low & 0xC0000 == 0x40000 else high // 2**24] += 1
check.case(2, lambda ids: sorted(ids) == sorted(one for one in counted if counted[one]), "reached")
check.case(1, lambda ids: ids == [one for one in counted if counted[one] > 1], "twice")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. The CPU that was forgotten
#
# A machine has `packages` packages with `cores` CPUs each. The id of a CPU is made of two fields:
# the low bits say which CPU of its package it is, from 0, and the higher bits say which package it
# is in, from 0. The low field has as few bits as are enough to number `cores` CPUs.
#
# A classmate sends one NMI to each of the ids 0, 1, 2 … up to one less than the number of CPUs.
#
# - `highest`: the highest APIC id of the machine.
# - `forgotten`: the list of the ids of all CPUs that get no NMI.

# %% given="lab5-gaps"
draw = worksheet.Numbers(me, "lab5-gaps")
machine = worksheet.Given(
    "packages", "cores", packages=draw.between(3, 9), cores=draw.pick([3, 5, 6, 7, 9, 10, 11])
)
machine

# %% answer="lab5-gaps"
highest = None
forgotten = None
### BEGIN SOLUTION
low_bits = (machine.cores - 1).bit_length()
every_id = [
    package << low_bits | core
    for package in range(machine.packages)
    for core in range(machine.cores)
]
highest = max(every_id)
forgotten = [one for one in every_id if one >= len(every_id)]
### END SOLUTION

# %% test="lab5-gaps" points=3
check = worksheet.Check(3, me)
check.number("highest", highest, 32)
check.items("forgotten", forgotten, int)
### BEGIN HIDDEN TESTS
step = 1
while step < machine.cores:
    step *= 2
there = {p * step + c for p in range(machine.packages) for c in range(machine.cores)}
missed = sorted(there - {*range(machine.packages * machine.cores)})
check.right(1, "highest", (machine.packages - 1) * step + machine.cores - 1)
check.case(2, lambda ids: sorted(ids) == missed, "forgotten")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. On the stack of what was interrupted
#
# In 64-bit mode the CPU first rounds RSP down to a multiple of 16. Then it pushes SS, RSP, RFLAGS,
# CS and RIP, eight bytes each, in this order (SDM vol. 3, 6.14.2). An NMI comes while RSP is `rsp`.
#
# - `rip_at`: the address at which the interrupted RIP is stored.
# - `rsp_at`: the address at which the interrupted RSP is stored.
# - `inside`: RSP at the first instruction of `nmi_handler`. `nmi_entry` is in
#   `core/exception_stub.S`: count what it pushes, and note what it does before its `call`.

# %% given="lab5-frame"
draw = worksheet.Numbers(me, "lab5-frame")
interrupted = worksheet.Given(rsp=0x40000000 + draw.between(0x240101, 0x7F0000))
interrupted

# %% answer="lab5-frame"
rip_at = None
rsp_at = None
inside = None
### BEGIN SOLUTION
rip_at = (interrupted.rsp & ~15) - 5 * 8
rsp_at = rip_at + 3 * 8
inside = ((rip_at - 10 * 8) & ~15) - 8
### END SOLUTION

# %% test="lab5-frame" points=3
check = worksheet.Check(3, me)
check.number("rip_at", rip_at)
check.number("rsp_at", rsp_at)
check.number("inside", inside)
### BEGIN HIDDEN TESTS
base = interrupted.rsp - interrupted.rsp % 16
check.case(1, lambda at: base - at == 40, "rip_at")
check.case(1, lambda at: base - at == 16, "rsp_at")
check.case(1, lambda at: base - at == 136, "inside")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. Who holds the lock?
#
# Three CPUs print, again and again. Each entry of `schedule` is the next step of that CPU:
#
# | step | what the CPU does |
# |---|---|
# | 1 | it takes the lock of `printf` if that is free; otherwise it does nothing, and tries again |
# | 2 | it prints |
# | 3 | it releases the lock; its next step is step 1 again |
#
# After the last entry the NMI comes to all three of them at once, and their handler halts at once.
#
# - `lines`: how often something was printed.
# - `holder`: the CPU that holds the lock for ever; 0 if no CPU does.
# - `tried`: the list of the CPUs that have last tried in vain to take the lock.

# %% given="lab5-lock"
draw = worksheet.Numbers(me, "lab5-lock")
cpus = draw.some(3, range(1, 90))
printing = worksheet.Given(
    "schedule", schedule=[draw.pick(cpus) for _ in range(9)] + draw.shuffled(cpus) + cpus[:2]
)
del cpus
printing

# %% answer="lab5-lock"
lines = None
holder = None
tried = None
### BEGIN SOLUTION
lines, holder, at = 0, 0, {}
vain = dict.fromkeys(printing.schedule, False)
for cpu in printing.schedule:
    vain[cpu] = False
    if at.get(cpu, 1) == 1:
        if holder:
            vain[cpu] = True
        else:
            holder, at[cpu] = cpu, 2
    elif at[cpu] == 2:
        lines, at[cpu] = lines + 1, 3
    else:
        holder, at[cpu] = 0, 1
tried = [cpu for cpu in vain if vain[cpu]]
### END SOLUTION

# %% test="lab5-lock" points=3
check = worksheet.Check(3, me)
check.number("lines", lines, 16)
check.number("holder", holder, 16)
check.items("tried", tried, int)
### BEGIN HIDDEN TESTS


def play_prints(schedule):
    """Return the number of lines, the holder of the lock, and who has last tried in vain."""
    lock, printed, last = [], [], {}

    def program(cpu):
        while True:
            while lock:
                last[cpu] = "in vain"
                yield
            lock.append(cpu)
            last[cpu] = "took it"
            yield
            printed.append(cpu)
            yield
            lock.remove(cpu)
            last[cpu] = "gave it back"
            yield

    programs = {cpu: program(cpu) for cpu in schedule}
    for cpu in schedule:
        next(programs[cpu])
    return len(printed), sum(lock), sorted(one for one in last if last[one] == "in vain")


count, owner, waiting = play_prints(printing.schedule)
check.right(0.5, "lines", count)
check.right(1.5, "holder", owner)
check.case(1, lambda ids: sorted(ids) == waiting, "tried")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Sending it
#
# The registers of the local APIC are in memory, from the address in the register `register` on: the
# high half of ICR at `+0x310`, the low half at `+0x300`. The write of the *low* half sends the IPI.
# Write 64-bit code that sends one NMI to the CPU with the APIC id `to`: edge triggered, level
# assert, no shorthand, vector 0, reserved bits 0. It writes each half once, as 32 bits, and nothing
# else. It may use all other registers.
#
# `send = worksheet.assemble ("""…""", 64, att=True)`.

# %% given="lab5-send"
draw = worksheet.Numbers(me, "lab5-send")
sending = worksheet.Given(
    "to",
    register=draw.pick(["rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11"]),
    to=draw.between(2, 250),
)
sending

# %% answer="lab5-send"
send = None
### BEGIN SOLUTION
send = worksheet.assemble(
    f"""
        movl ${sending.to << 24:#x}, 0x310(%{sending.register})
        movl $0x4400, 0x300(%{sending.register})
    """,
    64,
    att=True,
)
### END SOLUTION

# %% test="lab5-send" points=4
check = worksheet.Check(4, me)
check.code("send", send)
### BEGIN HIDDEN TESTS
APIC = 0x5000


def sent_by(code):
    after = worksheet.run(code, 64, registers={sending.register: APIC})
    words = [int.from_bytes(after.bytes_at(APIC + at, 4), "little") for at in (0x310, 0x300)]
    return after.finished and after.written, words


def in_order(code):
    return sent_by(code)[0] == ((APIC + 0x310, 4), (APIC + 0x300, 4))


check.case(1, lambda code: in_order(code) and sent_by(code)[1][1] & 0xFFF00 == 0x4400, "send")
check.case(1, lambda code: in_order(code) and sent_by(code)[1][0] == sending.to * 2**24, "send")
check.case(
    2, lambda code: in_order(code) and sent_by(code)[1] == [sending.to * 2**24, 0x4400], "send"
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. In your own words
#
# Write three or four sentences for each. A person will read and grade them.
#
# **a.** A classmate lets `nmi_handler` take `ap_lock`, add one to a counter, and release the lock
# before it halts. "The lock is free in no time, so what is wrong with it?" Describe two different
# situations in which a CPU then never halts.

# %% [markdown] manual="lab5-lock-in-the-handler" points=3
# ### BEGIN SOLUTION
# The NMI comes to a CPU that holds `ap_lock` itself. It waits in the handler for the lock that only
# it could release, and it never gets back to the code that would. (1.5)
#
# The NMI comes first to a CPU that holds `ap_lock`, and that CPU halts. All others then wait for a
# lock that is never released. The CPU that panics may also hold it, and it does not come back
# either. (1.5)
# ### END SOLUTION

# %% [markdown]
# **b.** Why does `panic_wakeup_all` send nothing before `ap_started` is true? Name two different
# things that an NMI, or the attempt to send one, could do at that time.

# %% [markdown] manual="lab5-too-early" points=3
# ### BEGIN SOLUTION
# The APIC may not be mapped yet: the attempt to write to it causes a panic within the panic, or a
# page fault. (1)
#
# An AP that has just been started is in the trampoline or on the boot stack and has no IDT. An NMI
# there causes an exception that cannot be handled, so the machine resets, and the message is lost.
# (2)
# ### END SOLUTION
