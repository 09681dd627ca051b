# %% [markdown]
# # Worksheet 8: nested paging
#
# Work out by hand what lab 8 is about: how a guest-physical address is translated, what a guest may
# do there, what it costs to hide the VMM, and what a nested page fault says. Read the handout of
# lab 8 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab8-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. The way of an address
#
# A guest accesses the guest-physical address `walk.gpa`. The page directory for it is at physical
# address `walk.pd`. Its entry there leads to the page table at `walk.pt`, and the entry in the
# page table is `walk.pte`.
#
# - `pde_at`: the physical address of the entry in the page directory.
# - `pte_at`: the physical address of the entry in the page table.
# - `leads_to`: the host-physical address of the byte that the guest accesses.

# %% given="lab8-walk"
draw = worksheet.Numbers(me, "lab8-walk")
walk = worksheet.Given(
    gpa=draw.between(0x200001, 0xFDFFFFFF),
    pd=draw.between(0x180000, 0x7FF000, 0x1000),
    pt=draw.between(0x800000, 0xFFF000, 0x1000),
    pte=draw.between(0x100000000, 0xFFFFFF000, 0x1000) | draw.pick([0x05, 0x25, 0x27, 0x67]),
)
walk

# %% answer="lab8-walk"
pde_at = None
pte_at = None
leads_to = None
### BEGIN SOLUTION
pde_at = walk.pd + 8 * (walk.gpa >> 21 & 511)
pte_at = walk.pt + 8 * (walk.gpa >> 12 & 511)
leads_to = walk.pte & ~0xFFF | walk.gpa & 0xFFF
### END SOLUTION

# %% test="lab8-walk" points=3
check = worksheet.Check(3, me)
check.number("pde_at", pde_at)
check.number("pte_at", pte_at)
check.number("leads_to", leads_to)
### BEGIN HIDDEN TESTS
in_gib = walk.gpa % 2**30
check.right(1, "pde_at", walk.pd + in_gib // 2**21 * 8)
check.right(1, "pte_at", walk.pt + in_gib % 2**21 // 4096 * 8)
check.right(1, "leads_to", walk.pte // 4096 * 4096 + walk.gpa % 4096)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. What the guest may do
#
# `rights.ways` are seven ways through the nested page tables. For each there are three entries: of
# the PDPT, of the page directory and of the page table, in this order. The entry of the PML4 is
# present, writable and for users. The guest's own page tables allow everything, and what accesses
# memory is the *kernel* of the guest.
#
# - `may`: a list of what it may do, in this order: `"write"` (read and write), `"read"` (read only)
#   or `"nothing"`.

# %% given="lab8-rights"
draw = worksheet.Numbers(me, "lab8-rights")
bits = draw.shuffled(
    [
        draw.pick([(6, 7, 7), (7, 6, 7)]),
        draw.pick([(3, 7, 7), (7, 3, 7)]),
        (7, 7, 3),
        draw.pick([(5, 7, 7), (7, 5, 7)]),
        (7, 7, 5),
        (7, 7, 7),
        (7, 7, 7),
    ]
)
rights = worksheet.Given(
    ways=[
        tuple(draw.between(0x180000, 0xFFF000, 0x1000) | draw.pick([0, 0x20]) | one for one in way)
        for way in bits
    ]
)
rights

# %% answer="lab8-rights"
may = None
### BEGIN SOLUTION
may = []
for way in rights.ways:
    if not all(entry & 1 and entry & 4 for entry in way):
        may.append("nothing")
    elif all(entry & 2 for entry in way):
        may.append("write")
    else:
        may.append("read")
### END SOLUTION

# %% test="lab8-rights" points=3
check = worksheet.Check(3, me)
check.items("may", may, str, 7)
### BEGIN HIDDEN TESTS
right = {7: "write", 5: "read"}
both = [first & second & third & 7 for first, second, third in rights.ways]
for what in ("write", "read", "nothing"):
    check.case(
        1,
        lambda found, what=what: all(
            (one == what) == (right.get(left, "nothing") == what) for one, left in zip(found, both)
        ),
        "may",
    )
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. Hide the VMM
#
# `mm_vmm_memory` says that the VMM's memory begins at `vmm.start` and ends *before* `vmm.end`.
# `np_init` has made pages of 2 MiB everywhere. `np_hide_vmm` splits as few of them as it can.
#
# - `pages`: how many pages of 4 KiB have to be hidden.
# - `split`: a list of the 2 MiB pages that have to be split, as guest-physical addresses.
# - `whole`: how many 2 MiB pages are hidden without being split.

# %% given="lab8-hide"
draw = worksheet.Numbers(me, "lab8-hide")
kind = draw.below(3)
start = draw.between(0x100001, 0xFFEFFF)
end = draw.between(0x2001001, 0x7E00FFF)
if kind == 1:
    start = draw.between(0x200000, 0xE00000, 0x200000)
elif kind == 2:
    end = draw.between(0x2000000, 0x7E00000, 0x200000) - draw.between(1, 0xFFE)
vmm = worksheet.Given(start=start, end=end)
vmm

# %% answer="lab8-hide"
pages = None
split = None
whole = None
### BEGIN SOLUTION
first_page = vmm.start & ~0xFFF
after_last = (vmm.end + 0xFFF) & ~0xFFF
pages = (after_last - first_page) // 0x1000
split = [at & ~0x1FFFFF for at in (first_page, after_last) if at & 0x1FFFFF]
whole = after_last // 0x200000 - (first_page + 0x1FFFFF) // 0x200000
### END SOLUTION

# %% test="lab8-hide" points=3
check = worksheet.Check(3, me)
check.number("pages", pages)
check.items("split", split, int)
check.number("whole", whole)
### BEGIN HIDDEN TESTS
hidden = {}
for page in range(vmm.start // 4096, (vmm.end - 1) // 4096 + 1):
    hidden[page // 512] = hidden.get(page // 512, 0) + 1
in_part = sorted(number * 2**21 for number, count in hidden.items() if count < 512)
check.right(1, "pages", sum(hidden.values()))
check.case(1, lambda found: sorted(found) == in_part, "split")
check.right(1, "whole", len(hidden) - len(in_part))
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. One call after another
#
# After `np_init`, the VMM calls `np_map` with the arguments `maps.calls`, in this order: gpa, hpa,
# len, present, writable. Then the guest accesses each of `maps.addresses`.
#
# - `leads`: a list of the host-physical addresses that they lead to, in this order; `0` where the
#   access is a nested page fault.
# - `writes`: a list of those of `maps.addresses` that the guest may write to.

# %% given="lab8-maps"
draw = worksheet.Numbers(me, "lab8-maps")
base = draw.between(0x10000000, 0x7FE00000, 0x200000)
far = draw.between(0x100000000, 0xF00000000, 0x200000)
near = draw.between(0x2000000, 0x7FFF000, 0x1000)
edge = base + 0x200000
maps = worksheet.Given(
    calls=[
        (base, far, 0x400000, True, False),
        (edge - 0x2000, 0, 0x1000 * draw.between(5, 8), False, False),
        (edge, near, 0x1000 * draw.between(2, 4), True, True),
        (base + 0x80000, near, 0, False, True),
    ],
    addresses=draw.shuffled(
        [
            base - draw.between(1, 0x1000),
            base + 0x80000 + draw.between(0, 0xFFF),
            edge - draw.between(1, 0x2000),
            edge + 0x1000 + draw.between(0, 0xFFF),
            edge + 0x4000 + draw.between(0, 0x5FFF),
            edge + 0x10000 + draw.between(0, 0xFFFF),
            edge + 0x200000 + draw.between(0, 0xFFFF),
        ]
    ),
)
maps

# %% answer="lab8-maps"
leads = None
writes = None
### BEGIN SOLUTION
leads = []
writes = []
for address in maps.addresses:
    to, may_write = address, True
    for gpa, hpa, length, present, writable in maps.calls:
        if gpa <= address < gpa + length:
            to = hpa + address - gpa if present else 0
            may_write = present and writable
    leads.append(to)
    if may_write:
        writes.append(address)
### END SOLUTION

# %% test="lab8-maps" points=3
check = worksheet.Check(3, me)
check.items("leads", leads, int, 7)
check.items("writes", writes, int)
### BEGIN HIDDEN TESTS


def last_of(address):
    """Return the last call that changes a page: gpa, hpa, length, present, writable."""
    for one in reversed(maps.calls):
        if address - one[0] in range(one[2]):
            return one
    return (0, 0, 2**32, True, True)


last = [last_of(address) for address in maps.addresses]
check.case(1, lambda found: all((to == 0) == (not one[3]) for to, one in zip(found, last)), "leads")
check.case(
    1,
    lambda found: all(
        to - one[1] == address - one[0]
        for to, one, address in zip(found, last, maps.addresses)
        if one[3]
    ),
    "leads",
)
may_be_written = {at for at, one in zip(maps.addresses, last) if one[3] and one[4]}
check.case(1, lambda found: set(found) == may_be_written, "writes")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. What a nested page fault says
#
# A guest has exited with VMEXIT_NPF seven times. `faults.infos` are EXITINFO1 and EXITINFO2 of each
# exit. The processor sets the bit for instruction fetches. What do the bits of EXITINFO1 mean
# (APM 15.25.6)?
#
# - `kinds`: a list of what the processor wanted, in this order: `"read"`, `"write"` or `"fetch"` at
#   the guest's own address, or `"table"` if it was translating that address, and could not use a
#   page table *of the guest*.
# - `protected`: a list of the guest-physical addresses, in any order, that lead somewhere, but not
#   with the right that was needed.

# %% given="lab8-faults"
draw = worksheet.Numbers(me, "lab8-faults")
reasons = [
    0x100000004,
    0x100000006,
    0x100000007,
    0x100000007,
    0x100000014,
    0x200000006,
    draw.pick([0x100000004, 0x100000015, 0x200000007]),
]
places = [draw.pick([0xFEE00000, draw.between(0x100000, 0x7FFF000, 0x1000)]) for _ in reasons]
faults = worksheet.Given(
    infos=draw.shuffled(
        [(one, at + draw.between(0, 0xFF0, 0x10)) for one, at in zip(reasons, places)]
    )
)
faults

# %% answer="lab8-faults"
kinds = None
protected = None
### BEGIN SOLUTION
kinds = []
for info1, _ in faults.infos:
    if info1 >> 33 & 1:
        kinds.append("table")
    elif info1 >> 4 & 1:
        kinds.append("fetch")
    else:
        kinds.append("write" if info1 & 2 else "read")
protected = [info2 for info1, info2 in faults.infos if info1 & 1]
### END SOLUTION

# %% test="lab8-faults" points=3
check = worksheet.Check(3, me)
check.items("kinds", kinds, str, 7)
check.items("protected", protected, int)
### BEGIN HIDDEN TESTS
meaning = {0: "read", 2: "write", 16: "fetch"}
own = ["table" if one[0] >= 2**33 else meaning[one[0] & 18] for one in faults.infos]
check.case(
    1,
    lambda found: all((one == "table") == (real == "table") for one, real in zip(found, own)),
    "kinds",
)
check.case(
    1,
    lambda found: all(one == real for one, real in zip(found, own) if real != "table"),
    "kinds",
)
check.case(
    1, lambda found: set(found) == {one[1] for one in faults.infos if one[0] % 2}, "protected"
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. Your own VMM
#
# If you have a workspace, boot it here and look at what really happened. This part earns no points.

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab8", workspace, reader=me)

# %% [markdown]
# ## 7. Your own tables
#
# Look at your nested page tables with `make gdb LAB=8`. Stop at `np_flush`, with `hbreak np_flush`
# and `continue` twice: all changes have been made by then, and `v->vmcb->n_cr3` is the physical
# address of the PML4. Add `0x40000000` to a physical address to see what is there.

# %% given="lab8-look"
draw = worksheet.Numbers(me, "lab8-look")
look = worksheet.Given(gpa=draw.between(0x10000, 0x1FF000, 0x1000))
look

# %% [markdown]
# **a.** Walk your tables by hand for the guest-physical address `look.gpa`. Copy the gdb commands
# and the entry of each level. Where does the address lead, and what may the guest do there? Why is
# that right for this address?

# %% [markdown] manual="lab8-look" points=3
# ### BEGIN SOLUTION
# p/x v->vmcb->n_cr3 gives the PML4. Entry 0 there leads to the PDPT, entry 0 there to the page
# directory, and entry 0 there, for 0 to 2 MiB, to a page table, because the image begins at 1 MiB:
# bit 7 is 0. Each of the three ends in 7, perhaps with bits that the processor sets, as 0x27. (2;
# 1 if a level is missing)
#
# Below 1 MiB the last entry is the address itself with 7: the guest's own memory, which it may
# read, write and execute. From 1 MiB on the last entry has bit 0 clear: memory of the VMM, a nested
# page fault. (1)
# ### END SOLUTION

# %% [markdown]
# ## 8. In your own words
#
# Write three or four sentences for each question. A person will read and grade them.
#
# **a.** `np_protect_apic` makes the APIC's page read-only. A classmate hides it instead, and lets
# the VMM carry out each access that faults. Does the VMM still see every INIT and SIPI of the
# guest? What is lost? And what could the guest do if the page were simply writable?

# %% [markdown] manual="lab8-apic" points=3
# ### BEGIN SOLUTION
# Yes: each write still faults, so the VMM sees it before the APIC does. (1) But each read faults,
# too, and the VMM must decode and carry out the instruction. Guests read the APIC often, so they
# become slower, and the VMM must understand more instructions. (1) If the page were writable, the
# guest could send INIT and SIPI to real processors: an INIT ends the VMM on that CPU, and after the
# SIPI the guest's code runs there with no VMM below it. (1)
# ### END SOLUTION

# %% [markdown]
# **b.** A guest has run for a while. Then a VMM takes a page from it by `np_map`, and calls
# `np_flush` on the BSP alone. Describe what can still happen on another CPU. Why does a test of
# this VMM often pass?

# %% [markdown] manual="lab8-flush" points=2
# ### BEGIN SOLUTION
# The TLB of the other CPU may still hold the old translation, under the guest's ASID and across
# exits, so the guest there reads and writes the page that is no longer its own. (1) The test passes
# if that CPU has not used the page before, or if the entry has been replaced or flushed for another
# reason by then. (1)
# ### END SOLUTION
