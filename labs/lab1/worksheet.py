# %% [markdown]
# # Worksheet 1: multiboot and init functions
#
# Work out by hand what lab 1 is about: addresses before and after `mm_init`, the multiboot
# information, and the order of the init functions. Read the handout of lab 1 first.
#
# - Every student gets different numbers. They are derived from your id, `VMMLAB_STUDENT`.
# - Replace each `None` with your answer. You may write a number in any form that Python accepts:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer checks only its *form* and prints what is wrong with it. Whether the
#   answer is right is decided in grading. A partly right answer earns part of the points.

# %% given="lab1-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. One memory, two views
#
# The boot loader left the multiboot information at the physical address `mi_arg`. The linker gave
# the variable `mi` the virtual address `mi`.
#
# - `mi_physical`: the physical address of `mi`.
# - `seen_by_alias`: the virtual address of the multiboot information in the alias.
# - `faults`: `accesses` is a list of virtual addresses. List those at which a load by the BSP
#   causes a page fault after `mm_init`. (Nothing is mapped from 2 GiB to 3 GiB.)

# %% given="lab1-views"
draw = worksheet.Numbers(me, "lab1-views")
views = worksheet.Given(
    mi_arg=draw.between(0x9504, 0x9DFF4, 4),
    mi=0x40000000 + draw.between(0x120000, 0x1FF000, 8),
    accesses=[draw.between(4, 0xBFFFFFF0, 4) for _ in range(4)]
    + [draw.between(0x100000, 0x3FFFFFF0, 4), draw.between(0x40000000, 0x7FFFFFF0, 4)],
)
views

# %% answer="lab1-views"
mi_physical = None
seen_by_alias = None
faults = None
### BEGIN SOLUTION
GIB = 1 << 30
mi_physical = views.mi - GIB
seen_by_alias = views.mi_arg + GIB
faults = [address for address in views.accesses if not GIB <= address < 2 * GIB]
### END SOLUTION

# %% test="lab1-views" points=4
check = worksheet.Check(4, me)
check.number("mi_physical", mi_physical, 32)
check.number("seen_by_alias", seen_by_alias, 32)
check.items("faults", faults, int)
### BEGIN HIDDEN TESTS
check.case(1, lambda at: at + 0x40000000 == views.mi, "mi_physical")
check.case(1, lambda at: at - 0x40000000 == views.mi_arg, "seen_by_alias")
unmapped = {at for at in views.accesses if at // 0x40000000 != 1}
check.case(1, lambda found: len(unmapped ^ set(found)) <= 1, "faults")
check.case(1, lambda found: set(found) == unmapped, "faults")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 2. One page, mapped twice
#
# Both views use the same *page directory*, a table of 512 entries. Each entry maps 2 MiB.
# `address` is a virtual address in the alias.
#
# - `entry`: the number of the entry that maps this address (from 0).
# - `distance`: the distance of the address from the beginning of its 2 MiB page, in bytes.

# %% given="lab1-page"
draw = worksheet.Numbers(me, "lab1-page")
page = worksheet.Given(address=draw.between(0x40212345, 0x7FEDCBA9))
page

# %% answer="lab1-page"
entry = None
distance = None
### BEGIN SOLUTION
entry = page.address >> 21 & 511
distance = page.address & 0x1FFFFF
### END SOLUTION

# %% test="lab1-page" points=2
check = worksheet.Check(2, me)
check.number("entry", entry, 9)
check.number("distance", distance, 21)
### BEGIN HIDDEN TESTS
check.right(1, "entry", (page.address - 0x40000000) // 0x200000)
check.right(1, "distance", page.address % 0x200000)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 3. The multiboot information
#
# `message` holds the first bytes of the structure, in the order in which they are in memory. The
# fields are described in `include/multiboot.h`. Each is a `u32`, stored with the lowest byte first.
#
# - `upper_end`: the physical address of the first byte after upper memory. (`mem_upper` is the size
#   of upper memory in KiB, counted from 1 MiB.)
# - `command_line`: the physical address of the command line.
# - `valid`: a list of those among `"memory"`, `"cmdline"`, `"mods"` and `"mmap"` that are valid.

# %% given="lab1-message"
draw = worksheet.Numbers(me, "lab1-message")
flags = 0x200 | sum(draw.some(2, [0x01, 0x04, 0x08, 0x40])) | draw.pick([0, 0x10, 0x80])
fields = [
    flags,
    draw.between(600, 639),
    draw.between(0x10000, 0x2FFFF),
    0x8000FFFF,
    draw.between(0x9010, 0x9FB0),
    draw.between(1, 5),
    draw.between(0x9010, 0x9FB0, 16),
]
message = worksheet.Given(message=b"".join(field.to_bytes(4, "little") for field in fields))
del flags, fields
message

# %% answer="lab1-message"
upper_end = None
command_line = None
valid = None
### BEGIN SOLUTION


def field(number):
    """Return one u32 of the message."""
    return int.from_bytes(message.message[4 * number : 4 * number + 4], "little")


upper_end = 0x100000 + 1024 * field(2)
command_line = field(4)
bits = {"memory": 0x01, "cmdline": 0x04, "mods": 0x08, "mmap": 0x40}
valid = [name for name, bit in bits.items() if field(0) & bit]
### END SOLUTION

# %% test="lab1-message" points=4
check = worksheet.Check(4, me)
check.number("upper_end", upper_end, 32)
check.number("command_line", command_line, 32)
check.items("valid", valid, str)
### BEGIN HIDDEN TESTS
import struct

words = struct.unpack("<7I", message.message)
check.right(1.5, "upper_end", (words[2] + 1024) * 1024)
check.right(1, "command_line", words[4])
numbered = {0: "memory", 2: "cmdline", 3: "mods", 6: "mmap"}
set_bits = {name for bit, name in numbered.items() if words[0] >> bit & 1}
check.case(1.5, lambda names: set(names) == set_bits, "valid")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 4. The array of records
#
# The section `.initfunc` goes from `start` up to `end` (`__initfunc_start`, `__initfunc_end`). A
# record holds three pointers, in this order: file name, id, function.
#
# - `records`: the number of records.
# - `where`: the address of the *function pointer* in record number `number`, counted from 0.

# %% given="lab1-records"
draw = worksheet.Numbers(me, "lab1-records")
start = 0x40000000 + draw.between(0x118000, 0x11F000, 8)
count = draw.between(17, 60)
array = worksheet.Given(
    "number", start=start, end=start + 24 * count, number=draw.between(3, count - 2)
)
del start, count
array

# %% answer="lab1-records"
records = None
where = None
### BEGIN SOLUTION
records = (array.end - array.start) // 24
where = array.start + 24 * array.number + 16
### END SOLUTION

# %% test="lab1-records" points=2
check = worksheet.Check(2, me)
check.number("records", records, 16)
check.number("where", where)
### BEGIN HIDDEN TESTS
check.case(1, lambda count: array.start + 3 * 8 * count == array.end, "records")
check.case(1, lambda at: at - array.start == 8 * (3 * array.number + 2), "where")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 5. Sorting
#
# `records` is a list of records in link order, each given as (file name, id). `order` is the list
# of their numbers (from 0) in the order in which `initfunc_init` leaves them.

# %% given="lab1-sort"
draw = worksheet.Numbers(me, "lab1-sort")
ids = [*draw.some(3, ["global0", "global1", "global10", "global2", "global3", "global9"])]
ids += draw.some(2, ["Global1", "ap0", "pcpu4", "paral0", "paral00", "bsp0"])
files = draw.some(7, ["acpi.c", "apic.c", "bsp.c", "main.c", "mm.c", "pcpu.c", "serial.c", "vga.c"])
array_of = draw.shuffled(list(zip(files, [*ids, ids[0], ids[0]])))
sorting = worksheet.Given(records=array_of)
del ids, files, array_of
sorting

# %% answer="lab1-sort"
order = None
### BEGIN SOLUTION
order = sorted(range(7), key=lambda number: sorting.records[number][::-1])
### END SOLUTION

# %% test="lab1-sort" points=3
check = worksheet.Check(3, me)
check.items("order", order, int, 7)
### BEGIN HIDDEN TESTS


def in_order(numbers, key):
    keys = [key(*sorting.records[number]) for number in numbers]
    return set(numbers) == set(range(7)) and keys == sorted(keys)


check.case(1.5, lambda numbers: in_order(numbers, lambda file, name: name.encode()), "order")
check.case(
    1.5,
    lambda numbers: in_order(numbers, lambda file, name: (name.encode(), file.encode())),
    "order",
)
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 6. Which functions are called?
#
# `ids` lists the ids of all records.
#
# - `called`: a list of the ids whose functions `call_initfunc (wanted)` calls.
# - `called_wrongly`: the same list for a wrong implementation, which compares only as many
#   characters as the *record's* id has.

# %% given="lab1-prefix"
draw = worksheet.Numbers(me, "lab1-prefix")
wanted = draw.pick(["global", "pcpu", "paral", "paral0"])
near = {
    "global": ["glob", "globa", "g", "global", "global0", "global55", "Global1", "global1", "gl"],
    "pcpu": ["pcp", "p", "pcpu", "pcpu0", "pcpu41", "Pcpu0", "pcpu9", "pc", "paral0"],
    "paral": ["para", "p", "paral", "paral0", "paral3", "Paral1", "par", "paral12", "pcpu1"],
    "paral0": ["para", "paral", "paral0", "paral00", "paral03", "paral1", "par", "paral04", "pa"],
}[wanted]
calls = worksheet.Given(wanted=wanted, ids=draw.some(6, near))
del wanted, near
calls

# %% answer="lab1-prefix"
called = None
called_wrongly = None
### BEGIN SOLUTION
called = [one for one in calls.ids if one.startswith(calls.wanted)]
called_wrongly = [one for one in calls.ids if calls.wanted[: len(one)] == one[: len(calls.wanted)]]
called_wrongly = [one for one in called_wrongly if len(one) <= len(calls.wanted)]
### END SOLUTION

# %% test="lab1-prefix" points=3
check = worksheet.Check(3, me)
check.items("called", called, str)
check.items("called_wrongly", called_wrongly, str)
### BEGIN HIDDEN TESTS


def same_start(one, other, characters):
    """Compare as strncmp does: the end of a string counts as a character."""
    return (one + "\0")[:characters] == (other + "\0")[:characters]


runs = {one for one in calls.ids if same_start(one, calls.wanted, len(calls.wanted))}
wrong_runs = {one for one in calls.ids if same_start(one, calls.wanted, len(one))}
check.case(2, lambda names: set(names) == runs, "called")
check.case(1, lambda names: set(names) == wrong_runs, "called_wrongly")
### END HIDDEN TESTS
check.points

# %% [markdown]
# ## 7. Your own VMM
#
# If you have a workspace, boot it here and look at what really happened. This part earns no points.
# How much memory does the VMM report? From which field of the multiboot information does it take
# this number?

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab1", workspace, reader=me)

# %% [markdown]
# ## 8. In your own words
#
# Write three or four sentences for each question. A person will read and grade them.
#
# **a.** Why must `vmm_main` copy the multiboot information before it calls any function? Name two
# things that go wrong otherwise.

# %% [markdown] manual="lab1-copy-first" points=3
# ### BEGIN SOLUTION
# `mi_arg` is a physical address, which is usable only as long as the identity map exists. The init
# function `mm_init` removes the identity map; after that, reading there causes a page fault. (1.5)
#
# The multiboot information is in memory that is not reserved. Later, the memory manager allocates
# this memory to other code, which overwrites it. (1.5)
# ### END SOLUTION

# %% [markdown]
# **b.** `call_initfunc` may only read the records. A classmate marks each record as done, "so that
# no function runs twice". For which groups does this break the boot, and why does it look right on
# one CPU?

# %% [markdown] manual="lab1-marks" points=3
# ### BEGIN SOLUTION
# Every AP runs `"ap"` and every CPU runs `"pcpu"`. The first CPU marks all records as done; the
# second one finds them marked and runs no function. (1.5)
#
# With one CPU each group is called only once, so no function is missed. (1)
#
# In addition, several CPUs write the marks at the same time, without a lock. (0.5)
# ### END SOLUTION
