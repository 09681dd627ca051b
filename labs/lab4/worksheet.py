# %% [markdown]
# # Worksheet 4: the handshake and the barrier
#
# In this worksheet you follow schedules on paper. A *schedule* is a list of CPUs: each entry says
# which CPU executes its next step. Two boots of the same code differ because their schedules
# differ. Follow a schedule by hand, or write a few lines of Python.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. CPUs are named by their APIC ids. The order of a list of
#   CPUs does not matter, unless the question says so.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab4-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Lost counts
#
# `n = n + 1` takes three steps: load `n` into a register, add 1 to the register, store the register
# to `n`. Each entry of the schedule is one such step of that CPU. Each CPU does this twice, in six
# steps. At first `n` is `start`.
#
# - `plain`: `n` at the end of the schedule.
# - `guarded`: the same if each CPU executes `n = n + 1` while it holds a correct lock.

# %% given="lab4-lost"
draw = worksheet.Numbers(me, "lab4-lost")
ids = draw.some(3, range(1, 10))
lost = worksheet.Given(
    "start",
    "schedule",
    start=draw.between(20, 90),
    schedule=draw.shuffled([one for one in ids for _ in range(6)]),
)
lost

# %% answer="lab4-lost"
plain = None
guarded = None
### BEGIN SOLUTION
plain = lost.start
register, steps = {}, {}
for cpu in lost.schedule:
    step = steps.get(cpu, 0) % 3
    steps[cpu] = steps.get(cpu, 0) + 1
    if step == 0:
        register[cpu] = plain
    elif step == 1:
        register[cpu] += 1
    else:
        plain = register[cpu]
guarded = lost.start + len(lost.schedule) // 3
### END SOLUTION

# %% test="lab4-lost" points=2
check = worksheet.Check(2, me)
check.number("plain", plain, 32)
check.number("guarded", guarded, 32)
### BEGIN HIDDEN TESTS


def play_counts(schedule, start):
    """Return the value in memory after the loads, adds and stores of all CPUs."""
    memory, programs = start, {}

    def program():
        nonlocal memory
        while True:
            loaded = memory
            yield
            loaded += 1
            yield
            memory = loaded
            yield

    for cpu in schedule:
        next(programs.setdefault(cpu, program()))
    return memory


check.right(1.5, "plain", play_counts(lost.schedule, lost.start))
check.right(0.5, "guarded", lost.start + 6)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. A schedule that loses counts on purpose
#
# The steps are the same. Each of the CPUs `cpus` does `n = n + 1` twice, and at first `n` is
# `start`. Write a schedule, a list of 18 ids, after which `n` is `wanted`. Many schedules do this;
# any of them will do.

# %% given="lab4-schedule"
draw = worksheet.Numbers(me, "lab4-schedule")
start = draw.between(100, 900)
losing = worksheet.Given(
    "cpus",
    "start",
    "wanted",
    cpus=draw.some(3, range(10, 40)),
    start=start,
    wanted=start + draw.between(2, 5),
)
del start
losing

# %% answer="lab4-schedule"
schedule = None
### BEGIN SOLUTION
one, *others = losing.cpus
left_alone = losing.wanted - losing.start - 2
# One CPU loads; others count; then it stores its old value plus 1, and counts once more.
counts = [cpu for cpu in others for _ in range(2)]
lost_ones, later = counts[: 4 - left_alone], counts[4 - left_alone :]
schedule = [one] + [c for c in lost_ones for _ in range(3)] + [one] * 5
schedule += [c for c in later for _ in range(3)]
### END SOLUTION

# %% test="lab4-schedule" points=3
check = worksheet.Check(3, me)
check.items("schedule", schedule, int, 18)
### BEGIN HIDDEN TESTS
fair = type(schedule) is list and sorted(schedule) == sorted(losing.cpus * 6)


def value_after(ids):
    memory, loaded, done = losing.start, {}, dict.fromkeys(losing.cpus, 0)
    for cpu in ids:
        if done[cpu] % 3 == 0:
            loaded[cpu] = memory
        elif done[cpu] % 3 == 2:
            memory = loaded[cpu] + 1
        done[cpu] += 1
    return memory


check.case(3, lambda ids: fair and value_after(ids) == losing.wanted, "schedule")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. Which CPUs are inside?
#
# There are two locks, each a byte that is 0 at first. A CPU that has got inside stays inside; its
# further steps do nothing.
#
# | step | lock T: test, then set | lock X: exchange |
# |---|---|---|
# | 1 | load the lock | exchange the lock with 1 |
# | 2 | if it loaded 1, go back to step 1 | if it got 1, go back to step 1 |
# | 3 | store 1; it is now inside | – (inside after step 2) |
#
# Going back is part of step 2; the next step of that CPU is then step 1 again.
#
# - `inside_t`, `inside_x`: for each lock, the list of the CPUs that are inside after the schedule.

# %% given="lab4-inside"
draw = worksheet.Numbers(me, "lab4-inside")
ids = draw.some(3, range(1, 30))
locks = worksheet.Given("schedule", schedule=draw.shuffled(ids) + draw.shuffled([*ids, *ids, *ids]))
locks

# %% answer="lab4-inside"
inside_t = None
inside_x = None
### BEGIN SOLUTION


def play(schedule, last_step):
    """Return the CPUs that are inside; the lock is set in step 3 (T) or 1 (X)."""
    byte, at, got, inside = 0, {}, {}, []
    for cpu in schedule:
        if cpu in inside:
            continue
        step = at.get(cpu, 1)
        if step == 1:
            got[cpu] = byte
            byte = byte if last_step == 3 else 1
        at[cpu] = 1 if step == 2 and got[cpu] else step + 1
        if step == last_step and at[cpu] > last_step:
            byte = 1
            inside.append(cpu)
    return inside


inside_t = play(locks.schedule, 3)
inside_x = play(locks.schedule, 2)
### END SOLUTION

# %% test="lab4-inside" points=3
check = worksheet.Check(3, me)
check.items("inside_t", inside_t, int)
check.items("inside_x", inside_x, int)
### BEGIN HIDDEN TESTS


def enter(lock, atomic, came_in):
    """Play one CPU's way into the lock, with a yield after each step."""
    while True:
        seen = lock["byte"]
        if atomic:
            lock["byte"] = 1
        yield
        if not seen:
            break
        yield
    if not atomic:
        yield
        lock["byte"] = 1
    came_in()
    while True:
        yield


def who_is_inside(schedule, atomic):
    lock, inside, ways = {"byte": 0}, [], {}
    for cpu in schedule:
        if cpu not in ways:
            ways[cpu] = enter(lock, atomic, lambda cpu=cpu: inside.append(cpu))
        next(ways[cpu])
    return sorted(inside)


check.case(2, lambda ids: sorted(ids) == who_is_inside(locks.schedule, False), "inside_t")
check.case(1, lambda ids: sorted(ids) == who_is_inside(locks.schedule, True), "inside_x")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. No CPU in between
#
# These are five instructions of 64-bit code, as bytes. Which of them read a place in memory *and*
# change it, without letting any other CPU in between? `atomic` is the list of their numbers,
# counted from 0. `worksheet.disassemble (code, 64)` disassembles the bytes for you.

# %% given="lab4-atomic"
draw = worksheet.Numbers(me, "lab4-atomic")
place = bytes([draw.between(8, 0x78, 8)])
instructions = worksheet.Given(
    codes=draw.some(
        5,
        [
            b"\xff\x47" + place,
            b"\xf0\xff\x47" + place,
            b"\x86\x47" + place,
            b"\x86\xc3",
            b"\xf0\x0f\xc1\x47" + place,
            b"\x0f\xb1\x4f" + place,
            b"\xf0\x0f\xb1\x4f" + place,
            b"\xc6\x47" + place + b"\x01",
            b"\x0f\xba\x6f" + place + b"\x00",
            b"\xf0\x0f\xba\x6f" + place + b"\x00",
        ],
    )
)
del place
instructions

# %%
[worksheet.disassemble(code, 64) for code in instructions.codes]

# %% answer="lab4-atomic"
atomic = None
### BEGIN SOLUTION
atomic = [
    number
    for number, code in enumerate(instructions.codes)
    if code[0] == 0xF0 or code[:2] == b"\x86\x47"
]
### END SOLUTION

# %% test="lab4-atomic" points=2
check = worksheet.Check(2, me)
check.items("atomic", atomic, int)
### BEGIN HIDDEN TESTS
from vmmlab.x86.decode import decode

wanted = {number for number, code in enumerate(instructions.codes) if decode(code, 0, 64).locked}
check.case(1, lambda numbers: len(wanted ^ set(numbers)) <= 1, "atomic")
check.case(1, lambda numbers: wanted == set(numbers), "atomic")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Taking the lock
#
# A lock is `distance` bytes after the address in the register `register`. It is a byte: 0 is free,
# 1 is taken. Write 64-bit code that takes the lock, and that waits as long as another CPU holds it.
# A CPU that runs past your last instruction has the lock. There is no stack, and the code must
# write nothing except the lock. It may use all other registers.
#
# `take = worksheet.assemble ("""…""", 64, att=True)`. Labels must be words, such as `again:`.
# `att=True` selects AT&T syntax, as in the VMM's own files.

# %% given="lab4-take"
draw = worksheet.Numbers(me, "lab4-take")
taking = worksheet.Given(
    register=draw.pick(["rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11"]),
    distance=draw.between(0x10, 0x3F8, 8),
)
taking

# %% answer="lab4-take"
take = None
### BEGIN SOLUTION
take = worksheet.assemble(
    f"""
    try:
        movb $1, %al
        xchgb %al, {taking.distance}(%{taking.register})
        testb %al, %al
        jz inside
    wait:
        pause
        cmpb $0, {taking.distance}(%{taking.register})
        jne wait
        jmp try
    inside:
    """,
    64,
    att=True,
)
### END SOLUTION

# %% [markdown]
# Let two CPUs race for the lock. This tries every order of their memory accesses. If it prints a
# list, the list is a schedule in which both CPUs get inside: each entry says which CPU, 0 or 1,
# makes its next access.

# %%
if take:
    place = {taking.register: 0x5000}
    print(worksheet.race(take, 64, lock=0x5000 + taking.distance, registers=place))

# %% test="lab4-take" points=4
check = worksheet.Check(4, me)
check.code("take", take)
### BEGIN HIDDEN TESTS
BASE = 0x5008
LOCK = BASE + taking.distance


def tries(code, byte, steps=400):
    return worksheet.run(
        code, 64, registers={taking.register: BASE}, memory={LOCK: bytes([byte])}, steps=steps
    )


def takes_a_free_one(code):
    after = tries(code, 0)
    clean = all(LOCK <= at < LOCK + 8 for at, _ in after.written)
    return after.finished and clean and after.bytes_at(LOCK, 1) != b"\0" and after.written


def waits_for_a_taken_one(code):
    """Whether the code stays out while the lock is taken, and gets in when it is released."""
    for steps in range(40, 52):
        waiting = tries(code, 1, steps)
        if waiting.finished or waiting.bytes_at(LOCK, 1) == b"\0":
            return False
        after = worksheet.run(
            code,
            64,
            registers=waiting.registers,
            memory={LOCK: b"\0"},
            start=waiting.address,
        )
        if after.finished and after.bytes_at(LOCK, 1) != b"\0":
            return True
    return False


good = type(take) is bytes and takes_a_free_one(take) and waits_for_a_taken_one(take)
check.case(1, takes_a_free_one, "take")
check.case(1, lambda code: good, "take")
check.case(
    2,
    lambda code: (
        good and worksheet.race(code, 64, lock=LOCK, registers={taking.register: BASE}) is None
    ),
    "take",
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. Numbers and stacks
#
# The APs took the lock of the boot stack in the order `took_lock`. In that order, the call of
# `alloc` in each `apinitproc0` returned the addresses in `allocated`. Later the APs took `ap_lock`
# in the order `counted`. Then each of them called `segment_init_ap`.
#
# For the AP `who`, give:
#
# - `number`: its number;
# - `stackaddr`: the value that it must store in `currentcpu->stackaddr`;
# - `stale`: the value that it stores there if it reads the static variable only after every AP has
#   been through `apinitproc0`.

# %% given="lab4-numbers"
draw = worksheet.Numbers(me, "lab4-numbers")
ids = draw.some(5, range(1, 32))
base = 0x40000000 + draw.between(0x220000, 0x3F0000, 0x1000)
size = draw.pick([0x4000, 0x6000, 0x8000, 0xC000])
numbers = worksheet.Given(
    "took_lock",
    "counted",
    "who",
    took_lock=ids,
    allocated=[base + size * number for number in range(5)],
    counted=draw.shuffled(ids),
    who=draw.pick(ids[:4]),
)
del ids, base, size
numbers

# %% answer="lab4-numbers"
number = None
stackaddr = None
stale = None
### BEGIN SOLUTION
number = numbers.counted.index(numbers.who) + 1
stackaddr = numbers.allocated[numbers.took_lock.index(numbers.who)]
stale = numbers.allocated[-1]
### END SOLUTION

# %% test="lab4-numbers" points=3
check = worksheet.Check(3, me)
check.number("number", number, 32)
check.number("stackaddr", stackaddr)
check.number("stale", stale)
### BEGIN HIDDEN TESTS
check.case(1, lambda n: numbers.counted[n - 1] == numbers.who and n > 0, "number")
check.right(1, "stackaddr", dict(zip(numbers.took_lock, numbers.allocated))[numbers.who])
check.right(1, "stale", max(numbers.allocated))
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 7. When may the BSP go on?
#
# The ACPI tables list `processors` processors, including the BSP. The BSP looked at the two
# counters several times; `looks` holds what it saw, as (entered, left).
#
# - `too_early`: if a BSP waits only for *entered == left*, the number of the look (from 0) at which
#   it goes on.
# - `in_time`: the number of the look at which a correct BSP goes on.
# - `sleeps`: how many times in all `usleep` is called before `vmm_ap_missing`, if one AP never
#   arrives, `ap_delays.wait_us` is `wait_us` and `ap_delays.poll_us` is `poll_us`. (Look first,
#   then sleep.)

# %% given="lab4-wait"
draw = worksheet.Numbers(me, "lab4-wait")
aps = draw.between(4, 7)
first_ones = draw.between(1, aps - 2)
looks = [(1, 0)]
while looks[-1][1] < aps:
    entered, left = looks[-1]
    # The first ones have left before any of the others arrives.
    limit = first_ones if left < first_ones else aps
    if entered < limit and (entered == left or draw.below(2)):
        looks.append((entered + 1, left))
    else:
        looks.append((entered, left + 1))
poll = draw.between(200, 900, 50)
waiting = worksheet.Given(
    "processors",
    "looks",
    "wait_us",
    "poll_us",
    processors=aps + 1,
    looks=looks,
    wait_us=poll * draw.between(30, 80),
    poll_us=poll,
)
del aps, first_ones, looks, entered, left, limit, poll
waiting

# %% answer="lab4-wait"
too_early = None
in_time = None
sleeps = None
### BEGIN SOLUTION
equal = [entered == left for entered, left in waiting.looks]
too_early = equal.index(True)
in_time = waiting.looks.index((waiting.processors - 1, waiting.processors - 1))
sleeps = waiting.wait_us // waiting.poll_us
### END SOLUTION

# %% test="lab4-wait" points=3
check = worksheet.Check(3, me)
check.number("too_early", too_early, 16)
check.number("in_time", in_time, 16)
check.number("sleeps", sleeps, 32)
### BEGIN HIDDEN TESTS
goes_on = [number for number, (came, went) in enumerate(waiting.looks) if came == went]
check.right(1, "too_early", goes_on[0])
check.right(
    1,
    "in_time",
    next(n for n in goes_on if waiting.looks[n][1] + 1 >= waiting.processors),
)
check.case(1, lambda count: count * waiting.poll_us == waiting.wait_us, "sleeps")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 8. The barrier
#
# Three CPUs use the barrier of the handout. Each entry of the schedule is one step:
#
# - A CPU that is outside calls the barrier, and does everything that is done under `sync_lock`.
# - A CPU that is inside looks once, and leaves if it may. The CPU that arrived last has to look
#   too.
#
# At first `sync_id` has the given value `sync_id`, and `sync_count` is 0.
#
# - `id_after`, `count_after`: the two variables after the schedule.
# - `inside`: the list of the CPUs that are then inside.

# %% given="lab4-barrier"
draw = worksheet.Numbers(me, "lab4-barrier")
ids = draw.some(3, range(1, 30))
rounds = [one for _ in range(4) for one in draw.shuffled(ids)]
barrier = worksheet.Given(
    "sync_id",
    "schedule",
    sync_id=draw.between(3, 99),
    schedule=rounds + [draw.pick(ids) for _ in range(7)],
)
del ids, rounds
barrier

# %% answer="lab4-barrier"
id_after = None
count_after = None
inside = None
### BEGIN SOLUTION
id_after, count_after, since = barrier.sync_id, 0, {}
for cpu in barrier.schedule:
    if cpu in since:
        if id_after != since[cpu]:
            del since[cpu]
    else:
        since[cpu] = id_after
        count_after += 1
        if count_after == 3:
            id_after, count_after = id_after + 1, 0
inside = list(since)
### END SOLUTION

# %% test="lab4-barrier" points=3
check = worksheet.Check(3, me)
check.number("id_after", id_after, 32)
check.number("count_after", count_after, 32)
check.items("inside", inside, int)
### BEGIN HIDDEN TESTS


def play_barrier(schedule, generation):
    """Return rounds completed, count, CPUs inside; without a generation a CPU waits for count 0."""
    completed, count, came_in = 0, 0, {}
    for cpu in schedule:
        if cpu not in came_in:
            came_in[cpu] = completed
            count = (count + 1) % 3
            completed += count == 0
        elif (completed > came_in[cpu]) if generation else (count == 0):
            came_in.pop(cpu)
    return completed, count, sorted(came_in)


done, count, still = play_barrier(barrier.schedule, True)
check.right(1, "id_after", barrier.sync_id + done)
check.right(1, "count_after", count)
check.case(1, lambda ids: sorted(ids) == still, "inside")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 9. The barrier that works once
#
# This barrier has no `sync_id`: the last CPU to arrive sets `sync_count` to 0, and a CPU inside may
# leave when it looks and finds 0. The steps are as before.
#
# - `inside_broken`: the list of the CPUs that are inside after this schedule.
# - `count_broken`: the value of `sync_count` at that time.

# %% given="lab4-broken-barrier"
draw = worksheet.Numbers(me, "lab4-broken-barrier")
ids = draw.some(3, range(1, 30))
broken = worksheet.Given(
    "schedule", schedule=draw.shuffled(ids) + [draw.pick(ids) for _ in range(5)]
)
del ids
broken

# %% answer="lab4-broken-barrier"
inside_broken = None
count_broken = None
### BEGIN SOLUTION
inside_broken, count_broken = [], 0
for cpu in broken.schedule:
    if cpu not in inside_broken:
        inside_broken.append(cpu)
        count_broken = (count_broken + 1) % 3
    elif count_broken == 0:
        inside_broken.remove(cpu)
### END SOLUTION

# %% test="lab4-broken-barrier" points=2
check = worksheet.Check(2, me)
check.items("inside_broken", inside_broken, int)
check.number("count_broken", count_broken, 32)
### BEGIN HIDDEN TESTS


def play_broken(schedule):
    count, at = 0, dict.fromkeys(schedule, "outside")
    for cpu in schedule:
        if at[cpu] == "outside":
            at[cpu] = "inside"
            count = 0 if count == 2 else count + 1
        elif not count:
            at[cpu] = "outside"
    return sorted(cpu for cpu, where in at.items() if where == "inside"), count


still, count = play_broken(broken.schedule)
check.case(1.5, lambda ids: sorted(ids) == still, "inside_broken")
check.right(0.5, "count_broken", count)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 10. Your own VMM
#
# If you have a workspace, boot it here and look at what really happens. In which order do the APs
# get their numbers? On which stacks are they? Boot it twice: what changes? This part earns no
# points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab4", workspace, reader=me)

# %% [markdown]
# ## 11. In your own words
#
# Write three or four sentences for each. A person will read and grade them.
#
# **a.** `apinitproc1` unlocks `*apinitlock` before the AP counts itself in `num_of_processors`, and
# reads the static variable before it unlocks. For each of the two: what can go wrong, and for which
# CPU, if the order is reversed?

# %% [markdown] manual="lab4-order" points=3
# ### BEGIN SOLUTION
# Counting before unlocking: the BSP may go on as soon as the last AP is counted. It removes the
# trampoline, which contains `*apinitlock`. The AP then writes into memory that may already have
# another use. (1.5)
#
# Unlocking before reading: the next AP enters `apinitproc0` and overwrites the static variable.
# This AP then reads the address of the other AP's stack, and two CPUs have the same `stackaddr`.
# (1.5)
# ### END SOLUTION

# %% [markdown]
# **b.** A classmate says: "I tested my barrier in a thousand boots with 16 CPUs, and it never hung.
# So it does not need a round number." What do you answer? Give a schedule that proves your point.

# %% [markdown] manual="lab4-thousand-boots" points=3
# ### BEGIN SOLUTION
# A thousand boots try a thousand schedules out of very many, and these are all alike: the CPUs run
# at about the same speed, so the bad schedule is rare. Not seeing it is no proof. (1)
#
# The schedule: all CPUs arrive, and the count is reset. Before a slow CPU inside looks, a fast one
# leaves and calls the barrier again, so the count is 1. The slow CPU looks, sees 1 and stays
# inside. The fast CPU waits for the slow one, which never arrives. (2)
# ### END SOLUTION
