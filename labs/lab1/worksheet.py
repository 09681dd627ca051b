# %% [markdown]
# # Worksheet 1: multiboot and init functions
#
# Paper and pencil for lab 1: addresses before and after `mm_init`, the message of the boot loader,
# and the order of the init functions. Read the handout of lab 1 first.
#
# - Every student has other numbers. They are made from your id, `VMMLAB_STUDENT`.
# - Write your answers over each `None`. A number may be written in any way that Python knows:
#   `61440`, `0xF000`, `0xF << 12`. You may let Python calculate.
# - The cell below an answer looks at its *form* and prints what is wrong with that. Whether it is
#   right comes out when it is graded. Parts of an answer earn parts of its points.

# %% given="lab1-start"
import os

from vmmlab import worksheet

me = worksheet.student(os.environ)
me

# %% [markdown]
# ## 1. One memory, two views
#
# The boot loader left its message at the physical address `mi_arg`. The linker gave the variable
# `mi` the virtual address `mi`.
#
# - `mi_physical`: the physical address of `mi`.
# - `seen_by_alias`: the virtual address at which the message is seen through the alias.
# - `faults`: the list of those numbers in `accesses`, virtual addresses, at which a load on the
#   BSP ends in a page fault after `mm_init`. (Nothing is mapped from 2 GiB to 3 GiB.)

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
# ## 2. The same page twice
#
# Both views use the same *page directory*, a table of 512 entries. Each entry maps 2 MiB.
# `address` is a virtual address in the alias.
#
# - `entry`: the number of the entry that maps it (from 0).
# - `distance`: how many bytes it lies behind the beginning of its 2 MiB page.

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
# ## 3. The boot loader's message
#
# `message` is the beginning of the structure, byte for byte as it lies in memory. Its fields are
# in `include/multiboot.h`, each a `u32`, lowest byte first.
#
# - `upper_end`: the physical address of the first byte behind upper memory. (`mem_upper` counts
#   KiB from 1 MiB on.)
# - `command_line`: the physical address of the command line.
# - `valid`: the list of those of `"memory"`, `"cmdline"`, `"mods"` and `"mmap"` that are valid.

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
    """One u32 of the message."""
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
# - `records`: how many there are.
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
# `records` are records in link order, as (file name, id). `order` is the list of their numbers
# (from 0) as they stand after `initfunc_init`.

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
# ## 6. Who is called?
#
# `ids` are the ids of all records.
#
# - `called`: the list of those that run in `call_initfunc (wanted)`.
# - `called_wrongly`: the list of those that run if somebody compares only as many characters as
#   the *record's* id has.

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
    """As strncmp: the end of a text counts as a character."""
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
# If you have a workspace, boot it here and look at what really happened. This earns nothing. How
# much memory does it say there is? Where in the multiboot information does it take that from?

# %%
workspace = "~/vmm"  # the folder of your workspace

# %%
worksheet.boot_lab("lab1", workspace, reader=me)

# %% [markdown]
# ## 8. In your own words
#
# Three or four sentences each. Somebody will read them.
#
# **a.** Why must `vmm_main` copy the multiboot information before it calls anything? Name two
# things that go wrong otherwise.

# %% [markdown] manual="lab1-copy-first" points=3
# ### BEGIN SOLUTION
# `mi_arg` is a physical address, and it works only as long as the identity map does. `mm_init`, an
# init function, takes that away: then reading it is a page fault. (1.5)
#
# The message lies in memory that is nobody's. The memory manager gives it out, and whoever gets it
# overwrites it. (1.5)
# ### END SOLUTION

# %% [markdown]
# **b.** `call_initfunc` may only read the records. A classmate marks each record as done, "so that
# none runs twice". For which groups does that break the boot, and why does it look right on one
# CPU?

# %% [markdown] manual="lab1-marks" points=3
# ### BEGIN SOLUTION
# `"ap"` is run by every AP and `"pcpu"` by every CPU. The first to come marks all records as done;
# the second finds them marked and runs none. (1.5)
#
# With one CPU each group is called once, so nothing is missing. (1)
#
# Also, several CPUs write the marks at once, without a lock. (0.5)
# ### END SOLUTION
