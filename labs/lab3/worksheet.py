# %% [markdown]
# # Worksheet 3: INIT, SIPI and the trampoline
#
# Paper and pencil for lab 3: work out by hand, once, the numbers that your code has to get right.
# Read the handout of lab 3 first. You need nothing else: no workspace, and nothing to boot.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab3-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. Segments
#
# In real mode an address is segment · 16 + offset.
#
# - `first`: the linear address of `first_segment` : `first_offset`.
# - `second`: the segment that, with the offset `second_offset`, gives the address
#   `second_address`.
# - `third`: the offset that, in the segment `third_segment`, gives the address `third_address`.

# %% given="lab3-segments"
draw = worksheet.Numbers(me, "lab3-segments")
segments = worksheet.Given(
    first_segment=draw.between(0x1001, 0x9EFF),
    first_offset=draw.between(0x11, 0xFFF),
    second_address=draw.between(0x20000, 0x8FFF0, 16) + 8,
    second_offset=draw.between(0x18, 0x1F8, 16),
    third_address=draw.between(0x50001, 0x53FFF),
    third_segment=draw.between(0x4501, 0x4FFF),
)
segments

# %% answer="lab3-segments"
first = None
second = None
third = None
### BEGIN SOLUTION
first = 16 * segments.first_segment + segments.first_offset
second = (segments.second_address - segments.second_offset) // 16
third = segments.third_address - 16 * segments.third_segment
### END SOLUTION

# %% test="lab3-segments" points=3
check = worksheet.Check(3, me)
check.number("first", first, 20)
check.number("second", second, 16)
check.number("third", third, 16)
### BEGIN HIDDEN TESTS
check.right(1, "first", (segments.first_segment << 4) + segments.first_offset)
check.case(1, lambda s: (s << 4) + segments.second_offset == segments.second_address, "second")
check.case(1, lambda o: (segments.third_segment << 4) + o == segments.third_address, "third")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. Five bytes at physical address 0
#
# Your trampoline is at `address`, and `offset` is its `APINIT_OFFSET`. Write down the five bytes of
# the far jump that belongs at physical address 0: `far_jump = bytes.fromhex("…")`.

# %% given="lab3-far-jump"
draw = worksheet.Numbers(me, "lab3-far-jump")
offset = draw.between(0x108, 0x1F8, 16)
jump = worksheet.Given(address=16 * draw.between(0x1101, 0x9CEF) + offset, offset=offset)
jump

# %% answer="lab3-far-jump"
far_jump = None
### BEGIN SOLUTION
segment = (jump.address - jump.offset) >> 4
far_jump = b"\xea" + jump.offset.to_bytes(2, "little") + segment.to_bytes(2, "little")
### END SOLUTION

# %% [markdown]
# A CPU in real mode reads your bytes like this:

# %%
worksheet.disassemble(far_jump, 16) if far_jump else None

# %% test="lab3-far-jump" points=3
check = worksheet.Check(3, me)
check.code("far_jump", far_jump, 5)
### BEGIN HIDDEN TESTS
from vmmlab.x86.decode import far_jump as read_far_jump

found = read_far_jump(far_jump) if type(far_jump) is bytes else None
check.case(1, lambda code: found is not None, "far_jump")
check.case(1, lambda code: found[0] * 16 + found[1] == jump.address, "far_jump")
check.case(1, lambda code: found[1] == jump.offset, "far_jump")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. Another student's five bytes
#
# The `ap_start` of another student left the bytes `found` at physical address 0. The trampoline was
# at `wanted`, and its offset was `offset`.
#
# - `leads_to`: the linear address to which this jump leads.
# - `mistake`: what went wrong: `"exchanged"` (offset and segment are swapped), `"not divided"` (the
#   segment was not divided by 16; its upper bits are lost) or `"high byte first"`.

# %% given="lab3-wrong-jump"
draw = worksheet.Numbers(me, "lab3-wrong-jump")
offset = draw.between(0x108, 0x1F8, 16)
segment = draw.between(0x1203, 0x9CEF)
kind = draw.below(3)
words = [
    (segment, offset),
    (offset, 16 * segment & 0xFFFF),
    (offset >> 8 | (offset & 0xFF) << 8, segment >> 8 | (segment & 0xFF) << 8),
][kind]
wrong = worksheet.Given(
    found=b"\xea" + words[0].to_bytes(2, "little") + words[1].to_bytes(2, "little"),
    wanted=16 * segment + offset,
    offset=offset,
)
del offset, segment, kind, words
wrong

# %% answer="lab3-wrong-jump"
leads_to = None
mistake = None
### BEGIN SOLUTION
its_offset = int.from_bytes(wrong.found[1:3], "little")
its_segment = int.from_bytes(wrong.found[3:5], "little")
leads_to = 16 * its_segment + its_offset
if its_segment == wrong.offset:
    mistake = "exchanged"
elif its_offset == wrong.offset:
    mistake = "not divided"
else:
    mistake = "high byte first"
### END SOLUTION

# %% test="lab3-wrong-jump" points=2
check = worksheet.Check(2, me)
check.number("leads_to", leads_to, 21)
check.text("mistake", mistake, ["exchanged", "not divided", "high byte first"])
### BEGIN HIDDEN TESTS
low, high = wrong.found[1] + 256 * wrong.found[2], wrong.found[3] + 256 * wrong.found[4]
right_segment = (wrong.wanted - wrong.offset) >> 4
check.right(1, "leads_to", (high << 4) + low)
check.right(
    1,
    "mistake",
    {
        (right_segment, wrong.offset): "exchanged",
        (wrong.offset, right_segment << 4 & 0xFFFF): "not divided",
    }.get((low, high), "high byte first"),
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. A label in the copy
#
# You are given the addresses of three labels in the image, as the linker has assigned them, and the
# address of the copy.
#
# - `size`: the number of bytes to copy.
# - `by_cs`: the offset with which real-mode code in the copy reaches the GDT through CS.
# - `linear`: the linear address of the GDT in the copy. This is the base that `lgdt` must read.

# %% given="lab3-copy"
draw = worksheet.Numbers(me, "lab3-copy")
offset = draw.between(0x18, 0x1F8, 16)
start = 0x40108000 + draw.between(0x10, 0xFF0, 16)
gdt = start + draw.between(0x58, 0xA8, 8)
copy = worksheet.Given(
    cpuinit_start=start,
    gdt=gdt,
    cpuinit_end=gdt + draw.between(0x38, 0x78, 4),
    apinit_addr=16 * draw.between(0x2001, 0x9CEF) + offset,
    APINIT_OFFSET=offset,
)
del offset, start, gdt
copy

# %% answer="lab3-copy"
size = None
by_cs = None
linear = None
### BEGIN SOLUTION
size = copy.cpuinit_end - copy.cpuinit_start
by_cs = copy.gdt - copy.cpuinit_start + copy.APINIT_OFFSET
linear = copy.gdt - copy.cpuinit_start + copy.apinit_addr
### END SOLUTION

# %% test="lab3-copy" points=3
check = worksheet.Check(3, me)
check.number("size", size, 12)
check.number("by_cs", by_cs, 16)
check.number("linear", linear, 20)
### BEGIN HIDDEN TESTS
distance = copy.gdt - copy.cpuinit_start
check.right(1, "size", copy.cpuinit_end - copy.cpuinit_start)
check.right(1, "by_cs", distance + copy.APINIT_OFFSET)
check.right(1, "linear", copy.apinit_addr + distance)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Messages to other CPUs
#
# The ICR has 64 bits. `apic_write_icr (dest, low)` puts `dest` into the topmost 8 bits and `low`
# into the lower 32. Use edge trigger and level *assert*, as in the handout (SDM vol. 3, 10.6.1;
# `include/apic.h`).
#
# - `startup_all`: the lower 32 bits of the message that makes all CPUs except the sender start at
#   the physical address `code`.
# - `init_one`: all 64 bits of an INIT to the one CPU with APIC id `apic_id`, without a shorthand.
# - `startup_one`: all 64 bits of the message that then makes the same CPU start at `code`.

# %% given="lab3-icr"
draw = worksheet.Numbers(me, "lab3-icr")
icr = worksheet.Given(
    "apic_id", code=0x1000 * draw.between(0x11, 0x9D), apic_id=draw.between(2, 0xEE)
)
icr

# %% answer="lab3-icr"
startup_all = None
init_one = None
startup_one = None
### BEGIN SOLUTION
startup_all = 0xC4600 | icr.code >> 12
init_one = icr.apic_id << 56 | 0x4500
startup_one = icr.apic_id << 56 | 0x4600 | icr.code >> 12
### END SOLUTION

# %% test="lab3-icr" points=3
check = worksheet.Check(3, me)
check.number("startup_all", startup_all, 32)
check.number("init_one", init_one)
check.number("startup_one", startup_one)
### BEGIN HIDDEN TESTS
idle = ~(1 << 12)  # ignore the delivery status: the CPU writes it
page = icr.code // 0x1000
check.case(1, lambda low: low & idle == (3 << 18 | 1 << 14 | 6 << 8 | page), "startup_all")
check.case(1, lambda word: word & idle == (icr.apic_id << 56 | 1 << 14 | 5 << 8), "init_one")
check.case(
    1, lambda word: word & idle == (icr.apic_id << 56 | 1 << 14 | 6 << 8 | page), "startup_one"
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. Reading the ICR
#
# A VMM wrote `low` to the lower 32 bits of the ICR. The CPU that wrote it has APIC id 0. There are
# APs with the ids 1, 2 and 3, and all of them are waiting for a SIPI.
#
# - `starts_at`: the physical address at which APs start.
# - `reached`: the list of the APIC ids that the message reaches, including the sender's if it gets
#   the message too.

# %% given="lab3-icr-read"
draw = worksheet.Numbers(me, "lab3-icr-read")
seen = worksheet.Given(
    low=draw.pick([0x80600, 0x84600, 0xC0600, 0xC4600]) | draw.between(0x10, 0x9E)
)
seen

# %% answer="lab3-icr-read"
starts_at = None
reached = None
### BEGIN SOLUTION
starts_at = (seen.low & 0xFF) << 12
reached = [0, 1, 2, 3] if seen.low >> 18 == 2 else [1, 2, 3]
### END SOLUTION

# %% test="lab3-icr-read" points=2
check = worksheet.Check(2, me)
check.number("starts_at", starts_at, 20)
check.items("reached", reached, int)
### BEGIN HIDDEN TESTS
check.right(1, "starts_at", 0x1000 * (seen.low % 0x100))
check.case(
    1, lambda ids: sorted(ids) == ([0, 1, 2, 3] if not seen.low & 1 << 18 else [1, 2, 3]), "reached"
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 7. A descriptor
#
# A descriptor is eight bytes long, and the bits of base and limit are scattered over it (SDM vol.
# 3, 3.4.5).
#
# - `base`, `last`: the base of the segment that `descriptor` describes, and the highest offset in
#   it. (Mind the granularity bit.)
# - `mine`: a descriptor for a 32-bit code segment with the base `my_base` and the largest possible
#   limit: readable, not conforming, present, privilege level 0. Give the eight bytes *as a number*.

# %% given="lab3-descriptor"
draw = worksheet.Numbers(me, "lab3-descriptor")
descriptor = worksheet.Given(
    descriptor=(
        draw.between(0x1234567, 0xFFFFFFFFFF)
        | 0x93 << 40
        | draw.below(16) << 48
        | draw.pick([0x4, 0xC]) << 52
        | draw.between(0x11, 0xEE) << 56
    ),
    my_base=draw.between(0x11000, 0x9D000) * 0x101,
)
descriptor

# %% answer="lab3-descriptor"
base = None
last = None
mine = None
### BEGIN SOLUTION
word = descriptor.descriptor
base = word >> 16 & 0xFFFFFF | word >> 56 << 24
last = word & 0xFFFF | (word >> 48 & 0xF) << 16
if word >> 55 & 1:
    last = last << 12 | 0xFFF
mine = 0x00CF9B000000FFFF | (descriptor.my_base & 0xFFFFFF) << 16 | descriptor.my_base >> 24 << 56
### END SOLUTION

# %% test="lab3-descriptor" points=4
check = worksheet.Check(4, me)
check.number("base", base, 32)
check.number("last", last, 32)
check.number("mine", mine)
### BEGIN HIDDEN TESTS
raw = descriptor.descriptor.to_bytes(8, "little")
pages = raw[6] & 0x80
top = int.from_bytes(raw[:2] + bytes([raw[6] & 0xF]), "little")
check.right(1, "base", int.from_bytes(raw[2:5] + raw[7:], "little"))
check.right(1, "last", 4096 * top + 4095 if pages else top)


def base_of(quad):
    return quad >> 16 & 0xFFFFFF | quad >> 56 << 24


# Accessed (bit 40) and the bit for software (52) may have any value.
check.case(1, lambda quad: base_of(quad) == descriptor.my_base, "mine")
check.case(
    1,
    lambda quad: (
        quad & 0xFFFF == 0xFFFF and quad >> 40 & 0xFE == 0x9A and quad >> 48 & 0xEF == 0xCF
    ),
    "mine",
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 8. What `lgdt` reads
#
# A GDT at the linear address `at` has `entries` entries, including the empty first one.
#
# - `six`: the six bytes that `lgdtl` reads: first the limit (the offset of the last byte), then the
#   base.
# - `selector`: the selector of entry number `entry`, with privilege level 0.

# %% given="lab3-gdtr"
draw = worksheet.Numbers(me, "lab3-gdtr")
entries = draw.between(4, 11)
table = worksheet.Given(
    "entries",
    "entry",
    entries=entries,
    at=draw.between(0x11238, 0x9D998, 8),
    entry=draw.between(2, entries - 1),
)
del entries
table

# %% answer="lab3-gdtr"
six = None
selector = None
### BEGIN SOLUTION
six = (8 * table.entries - 1).to_bytes(2, "little") + table.at.to_bytes(4, "little")
selector = 8 * table.entry
### END SOLUTION

# %% test="lab3-gdtr" points=3
check = worksheet.Check(3, me)
check.code("six", six, 6)
check.number("selector", selector, 16)
### BEGIN HIDDEN TESTS
check.case(1, lambda code: code[0] + 256 * code[1] == 8 * table.entries - 1, "six")
check.case(1, lambda code: int.from_bytes(code[2:], "little") == table.at, "six")
check.right(1, "selector", table.entry << 3)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 9. Which mode is the AP in?
#
# The grader stopped three APs. These are their control registers.
#
# - `modes`: a list of three strings, each `"real"`, `"protected"` or `"long"`. Write *long* only if
#   long mode is active, that is, if paging is on.
# - `missing`: the AP `dying` is about to write `0x80000011` to CR0 to enter long mode. Which one of
#   `"PAE"`, `"LME"`, `"CR3"` did its code forget? (CR3 was forgotten if it is 0.)

# %% given="lab3-modes"
draw = worksheet.Numbers(me, "lab3-modes")

rows = [
    {"CR0": 0x60000010, "CR3": 0, "CR4": 0, "EFER": 0},
    {"CR0": 0x60000010, "CR3": 0x10C000, "CR4": 0x20, "EFER": 0},
    {"CR0": 0x60000011, "CR3": 0, "CR4": 0, "EFER": 0},
    {"CR0": 0x60000011, "CR3": 0x10C000, "CR4": 0x20, "EFER": 0x100},
    {"CR0": 0x80000011, "CR3": 0x10C000, "CR4": 0x20, "EFER": 0},
    {"CR0": 0x80010031, "CR3": 0x10C000, "CR4": 0x20, "EFER": 0x500},
    {"CR0": 0x80000011, "CR3": 0x10B000, "CR4": 0x20, "EFER": 0x500},
]
before = {"CR0": 0x60000011, "CR3": 0x10C000, "CR4": 0x20, "EFER": 0x100}
first_ap, second_ap, third_ap = draw.some(3, rows)
states = worksheet.Given(
    ap1=first_ap, ap2=second_ap, ap3=third_ap, dying=before | {draw.pick(["CR3", "CR4", "EFER"]): 0}
)
states

# %% answer="lab3-modes"
modes = None
missing = None
### BEGIN SOLUTION
modes = []
for ap in (states.ap1, states.ap2, states.ap3):
    if not ap["CR0"] & 1:
        modes.append("real")
    else:
        modes.append("long" if ap["EFER"] & 0x400 else "protected")
for name, register in (("PAE", "CR4"), ("LME", "EFER"), ("CR3", "CR3")):
    if not states.dying[register]:
        missing = name
### END SOLUTION

# %% test="lab3-modes" points=3
check = worksheet.Check(3, me)
check.items("modes", modes, str, 3)
check.text("missing", missing, ["PAE", "LME", "CR3"])
### BEGIN HIDDEN TESTS


def mode_of(ap):
    protection, paging = ap["CR0"] & 1, ap["CR0"] >> 31
    if not protection:
        return "real"
    return "long" if paging and ap["EFER"] & 0x100 else "protected"


def right_modes(names):
    return sum(a == mode_of(b) for a, b in zip(names, (states.ap1, states.ap2, states.ap3)))


check.case(1, lambda names: right_modes(names) == 3, "modes")
check.case(1, lambda names: right_modes(names) >= 2, "modes")
dying = states.dying
check.right(1, "missing", "PAE" if not dying["CR4"] else "LME" if not dying["EFER"] else "CR3")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 10. Through the page tables
#
# With four levels of tables, bits 47–39 of an address are the index in the first table (PML4), bits
# 38–30 the index in the second (PDPT), and bits 29–21 the index in the third (PD). Here the third
# table maps pages of 2 MiB, as `boot/pagetable.S` does (SDM vol. 3, 4.5).
#
# `address` is where an AP executes when it turns on paging; `alias` is an address in the VMM as it
# is linked.
#
# - `indices`: for `alias`, the list of the three indices: PML4, PDPT, PD.
# - `entry`: the 64-bit entry in the PD that maps the page of `address` to itself: present,
#   writable, a 2 MiB page. It needs no other flags.

# %% given="lab3-paging"
draw = worksheet.Numbers(me, "lab3-paging")
paging = worksheet.Given(
    address=draw.between(0x212345, 0x3F000000),
    alias=0x40000000 + draw.between(0x200000, 0x3F000000),
)
paging

# %% answer="lab3-paging"
indices = None
entry = None
### BEGIN SOLUTION
indices = [paging.alias >> 39 & 511, paging.alias >> 30 & 511, paging.alias >> 21 & 511]
entry = paging.address & ~0x1FFFFF | 0x83
### END SOLUTION

# %% test="lab3-paging" points=3
check = worksheet.Check(3, me)
check.items("indices", indices, int, 3)
check.number("entry", entry)
### BEGIN HIDDEN TESTS
check.right(1, "indices", [0, paging.alias // 0x40000000, paging.alias % 0x40000000 // 0x200000])
# Accessed, dirty, global and the three bits for software make no difference here.
check.case(1, lambda word: word & ~0xFFF == paging.address - paging.address % 0x200000, "entry")
check.case(1, lambda word: word & 0x9F == 0x83, "entry")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 11. Counting in
#
# `apinit_procs` is `procs` bytes from the start of the CS segment. Write the one instruction with
# which each AP counts itself in. It is 16-bit code, DS is 0, and other APs execute it at the same
# time. `count` is its machine code; let the assembler do the work:
#
# `count = worksheet.assemble ("nop", 16, att=True)`
#
# `att=True` selects AT&T syntax, as in the VMM's own files: `movl %eax, %cs:0x10`. The default is
# Intel syntax.

# %% given="lab3-count"
draw = worksheet.Numbers(me, "lab3-count")
counting = worksheet.Given(procs=draw.between(0x48, 0x2F8, 8))
counting

# %% answer="lab3-count"
count = None
### BEGIN SOLUTION
count = worksheet.assemble(f"lock incl %cs:{counting.procs}", 16, att=True)
### END SOLUTION

# %% [markdown]
# Try it: let a CPU with CS = 0x1234 execute it. What is in memory afterwards? (Four bytes, low byte
# first.)

# %%
if count:
    after = worksheet.run(count, 16, registers={"cs": 0x1234}, address=0x12340)
    print(worksheet.disassemble(count, 16), after.bytes_at(0x12340 + counting.procs, 4).hex(" "))

# %% test="lab3-count" points=3
check = worksheet.Check(3, me)
check.code("count", count)
### BEGIN HIDDEN TESTS
from vmmlab.x86.decode import decode


def counts(code):
    """Whether the code, run at two places, adds one to the four bytes and writes nothing else."""
    for cs, before in ((0x1234, 0xFF), (0x8F01, 0x1FFFF)):
        place = 16 * cs + counting.procs
        after = worksheet.run(
            code,
            16,
            registers={"cs": cs},
            address=16 * cs + 0x400,
            memory={place: before.to_bytes(4, "little")},
        )
        if any(not place <= at < place + 4 for at, _ in after.written):
            return False
        if int.from_bytes(after.bytes_at(place, 4), "little") != before + 1:
            return False
    return True


def is_one_locked(code):
    found = decode(code, 0, 16)
    return found.size == len(code) and found.locked and found.changes_memory


check.case(2, counts, "count")
check.case(1, lambda code: is_one_locked(code) and counts(code), "count")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 12. Your own VMM
#
# If you have a workspace, boot it here and look at what really happens: the bytes at physical
# address 0, the messages, the way of each AP. Compare this with your answers above. This part earns
# no points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab3", workspace, reader=me)

# %% [markdown]
# ## 13. In your own words
#
# Write three or four sentences for each. A person will read and grade them.
#
# **a.** A SIPI could name the trampoline's own page. Why does it name page 0 instead, with a far
# jump from there? What are those five bytes normally for? If they are put back too early, what
# happens, and to which CPU?

# %% [markdown] manual="lab3-why-page-0" points=3
# ### BEGIN SOLUTION
# A SIPI can only name a 4 KiB page. The trampoline lies wherever memory below 1 MiB is free, and
# that is not always at the start of a page. A far jump reaches any address below 1 MiB. (1)
#
# The bytes belong to the real-mode interrupt table: vector 0 and the first byte of vector 1.
# Firmware or a guest that runs real-mode code later needs them. (1)
#
# If they are restored before every AP has passed through, a late AP executes a piece of the
# interrupt table as code. The BSP notices nothing. (1)
# ### END SOLUTION

# %% [markdown]
# **b.** All APs run the trampoline at once. Among the instructions that write to the same places,
# which ones are harmless when all APs execute them at the same time, and which are not? Why?

# %% [markdown] manual="lab3-at-once" points=3
# ### BEGIN SOLUTION
# Writing the GDT's base and the target of the far jump does no harm: every AP writes the same
# value, so it does not matter which AP is last, nor whether the value is already there. (1)
#
# Counting does harm: `inc` is a load and a store, and another CPU can come between the two. Two APs
# can both load 0 and both store 1. The prefix `lock` prevents this. (1)
#
# A stack, or any other place where each AP keeps a value of its *own*, must not be shared either:
# there the values differ. (1)
# ### END SOLUTION
