"""Forgeries: submissions that only pretend.

Each is the reference with some functions or whole files replaced, and says which points it still
earns by honest work.
"""

from vmmlab.author.mutants import Edit, replaced
from vmmlab.course.reference import reference, reference_text

HALT = 'asm volatile("cli; 1: hlt; jmp 1b");'

AP_START = "lab3/ap_start.c"
APINIT = "lab3/apinit.S"
ENTER = "lab4/apinit_enter.S"
HANDSHAKE = "lab4/handshake.c"
SYNC = "lab4/sync.c"

LJMPW = {"lab3.ljmpw.present": 2, "lab3.ljmpw.target": 3}
COPY = {"lab3.trampoline.copied": 3, "lab3.trampoline.pointers": 2}
CALLED = {"lab3.ipi.init": 3, "lab3.ipi.delay": 2, "lab3.ipi.sipi": 3}
LADDER = {"lab3.ladder.real": 3, "lab3.ladder.protected": 2, "lab3.ladder.long": 3}
COUNT = {"lab3.count.once": 2, "lab3.count.locked": 1}
BOOT_STACK = {"lab4.lock.entered": 3, "lab4.lock.exclusive": 6, "lab4.stack.first": 3}

# Nothing in lab 4 that an AP could use: whatever is seen was not done by one.
NO_APS = {
    ENTER: ".globl apinit_enter\napinit_enter: cli\n hlt\n jmp apinit_enter\n",
    SYNC: '#include "ap.h"\nvoid sync_all_processors (void) {}\n',
}
STUBS = """
void apinitproc0 (void) { for (;;); }
void apinitproc1 (void) { for (;;); }
"""


def function(file, name, head, body, before=""):
    """The reference with another body of one function; `before` stands in front of it."""

    def make(course):
        lab = file.split("/")[0]
        edit = Edit(file, "function", name, 1, f"{before}\n{head}\n{{\n{body}\n}}")
        text = replaced(reference_text(course, file), edit)
        return {**reference(course, [lab]).files, file: text.encode()}

    return make


def ap_start(body, before=""):
    return function(AP_START, "ap_start", "void\nap_start (void)", body, before)


def files(lab, own):
    """The reference with whole files replaced."""
    return lambda course: {
        **reference(course, [lab]).files,
        **{path: text.encode() for path, text in own.items()},
    }


def edited(file, *pairs):
    """The reference with pieces of text replaced; each must be there."""

    def make(course):
        text = reference_text(course, file)
        for old, new in pairs:
            assert old in text, f"{file} has no {old!r} any more"
            text = text.replace(old, new)
        return {**reference(course, [file.split("/")[0]]).files, file: text.encode()}

    return make


def out(size, port, value):
    register = {"b": "al", "w": "ax"}[size]
    return f'asm volatile("out{size} %%{register}, %%dx" : : "a"({value}), "d"({port}));'


# --- the screen and the power switch ---------------------------------------------------------

SHOUT = r"""
	static const char *const lines[] = {
		"Processor 1 (AP)", "Processor 2 (AP)", "Processor 3 (AP)",
		"lab3 40/40 points", "All points. lab3 is done, well done!",
	};

	for (uint i = 0; i < NUM_OF (lines); i++)
		for (const char *p = lines[i];; p++) {
			asm volatile("outb %%al, %%dx" : : "a"(*p ? *p : '\n'), "d"(0x3F8));
			if (!*p)
				break;
		}
"""
TRIPLE_FAULT = 'asm volatile("lidt %0; ud2" : : "m"(*(u64 (*)[2])&(u64[2]){ 0, 0 }));'
ENDS = {
    "isa-debug-exit": out("b", 0xF4, 0x10),
    "power off": out("w", 0x604, 0x2000),
    "reset by 0xCF9": out("b", 0xCF9, 6),
    "reset by keyboard": out("b", 0x64, 0xFE),
    "triple fault": TRIPLE_FAULT,
}

# --- right numbers, nobody started -----------------------------------------------------------

NUMBERS = """
	num_of_processors = acpi_num_of_processors () - 1;
	came = num_of_processors;
	apinitprocs = &came;
	apinitlock = lock;
	ap_started = true;
"""
NUMBERS_OF = "static u32 came;\nstatic u8 lock[8];"
PREPARED = """
	u16 segment = (apinit_addr - APINIT_OFFSET) >> 4;
	u8 *jump = mapmem_hphys (0, 5, MAPMEM_WRITE), saved[5];
	uint size = cpuinit_end - cpuinit_start;
	u8 *copy = mapmem_hphys (apinit_addr, size, MAPMEM_WRITE);

	memcpy (saved, jump, 5);
	memcpy (jump, &(u64){ 0xEA | APINIT_OFFSET << 8 | (u64)segment << 24 }, 5);
	memcpy (copy, cpuinit_start, size);
	apinitprocs = (volatile u32 *)(copy + (apinit_procs - cpuinit_start));
	apinitlock = copy + (apinit_lock - cpuinit_start);
"""
NOBODY_CALLED = f"""{PREPARED}
	*apinitprocs = num_of_processors = acpi_num_of_processors () - 1;
	ap_wait ();
	memcpy (jump, saved, 5);
	ap_started = true;
"""

LAB4_HEADERS = "".join(
    f'#include "{name}.h"\n' for name in ("acpi", "tracepoints", "ap", "cohort", "mm", "pcpu")
)
NUMBERS_4 = LAB4_HEADERS + STUBS + "void ap_wait (void) { num_of_processors = *apinitprocs = 3; }\n"

# --- somebody else's names ---------------------------------------------------------------------

FAKE_TRACEPOINTS = """
	{bind}
ap_entry:
segment_init_ap:
vmm_parked:
	hlt
	jmp	vmm_parked
"""
ALL_GLOBAL = ".globl ap_entry, segment_init_ap, vmm_parked"

FAKES_IN_C = """
typedef unsigned char u8;
typedef unsigned int u32;
void *alloc (u32 len);
void asm_wrrsp_and_jmp (unsigned long rsp, void *jmpto);
void spinlock_unlock (u8 *lock);
void usleep (u32 usec);
extern u8 *apinitlock;
extern volatile u32 num_of_processors;
#include "cohort.h"

{bind} void segment_init_ap (int number) {{ asm volatile("" : : "r"(number)); }}
{bind} void vmm_parked (void) {{ for (;;) asm volatile("hlt"); }}
{bind} void bsp_proc (void) {{ vmm_parked (); }}

void apinitproc1 (void)
{{
	spinlock_unlock (apinitlock);
	segment_init_ap (__atomic_add_fetch (&num_of_processors, 1, 5));
	vmm_parked ();
}}
void apinitproc0 (void)
{{
	asm_wrrsp_and_jmp ((unsigned long)alloc (VMM_STACKSIZE) + VMM_STACKSIZE, apinitproc1);
}}
void ap_wait (void)
{{
	while (num_of_processors < 3)
		usleep (100);
	bsp_proc ();
}}
"""

# --- the BSP in the place of the APs ----------------------------------------------------------

BSP_NUMBERED = (
    LAB4_HEADERS
    + STUBS
    + """
void ap_wait (void)
{
	for (int i = 1; i < (int)acpi_num_of_processors (); i++)
		segment_init_ap (i);
	num_of_processors = *apinitprocs = acpi_num_of_processors () - 1;
}
"""
)
# An AP parks at once; the BSP itself goes the way that the APs should go.
BSP_CLIMBS = {
    ENTER: """
	.globl	apinit_enter
apinit_enter:
	cmpb	$0, bsp_climbs
	jne	ap_locked
	jmp	vmm_parked
""",
    HANDSHAKE: LAB4_HEADERS
    + """
u8 bsp_climbs;
void ap_entry (void);

void apinitproc0 (void)
{
	asm_wrrsp_and_jmp ((ulong)alloc (VMM_STACKSIZE) + VMM_STACKSIZE, apinitproc1);
}
void apinitproc1 (void)
{
	for (int i = 1; i < (int)acpi_num_of_processors (); i++)
		segment_init_ap (i);
	num_of_processors = *apinitprocs = acpi_num_of_processors () - 1;
	bsp_proc ();
	vmm_parked ();
}
void ap_wait (void)
{
	bsp_climbs = 1;
	ap_entry ();
}
""",
    SYNC: NO_APS[SYNC],
}
# The BSP jumps to the copy's milestones; no AP is called.
BSP_CLIMBS_3 = 'asm volatile("jmp ap_entry");'

# --- out of sight of the single steps, or of the probes ----------------------------------------

COUNTED = "\tlock incl %cs:CS_OFFSET (apinit_procs)\n"
LONG_WAY = "\tmov\t$4000, %cx\n1:\tloop\t1b\n"
COUNT_THREE = """
	lock btsl $0, %cs:CS_OFFSET (apinit_lock) + 4
	jc	1f
	lock addl $3, %cs:CS_OFFSET (apinit_procs)
1:
"""
SIPI = "\tapic_write_icr (0,\n\t\t\tICR_ALL_BUT_SELF | ICR_ASSERT | ICR_STARTUP | vector);\n"
SEEN_OF_A_LONG_WAY = LJMPW | COPY | CALLED | {"lab3.ladder.real": 3}

# ap_lock is taken for show: no other AP passes while the lock of the boot stack is released.
UNGUARDED = (
    "\tspinlock_unlock (apinitlock);\n"
    "\tspinlock_lock (&ap_lock);\n"
    "\tn = ++num_of_processors;\n"
    "\tspinlock_unlock (&ap_lock);\n",
    "\tspinlock_lock (&ap_lock);\n"
    "\tspinlock_unlock (apinitlock);\n"
    "\tspinlock_unlock (&ap_lock);\n"
    "\tn = num_of_processors + 1;\n"
    "\tnum_of_processors = n;\n",
)

PARKS = "extern void vmm_parked (void);\n\n\tvmm_parked ();"

TRACEPOINTS = ("\t.balign\t8\ngdt:", "{tracepoints}\n\t.balign\t8\ngdt:")


def tracepoints(bind):
    old, new = TRACEPOINTS
    return edited(APINIT, (old, new.format(tracepoints=FAKE_TRACEPOINTS.format(bind=bind))))


def together(*makers):
    """What each of several forgeries of lab 3 changes."""

    def make(course):
        honest = dict(reference(course, ["lab3"]).files)
        changes = [{p: t for p, t in one(course).items() if t != honest[p]} for one in makers]
        return {path: text for one in (honest, *changes) for path, text in one.items()}

    return make


# name: (lab, the files, what they earn by honest work)
FORGERIES = {
    "serial output": ("lab3", ap_start(SHOUT + HALT), {}),
    **{name: ("lab3", ap_start(how + HALT), {}) for name, how in ENDS.items()},
    "lab3 numbers": ("lab3", ap_start(NUMBERS, NUMBERS_OF), {}),
    "lab3 numbers, all prepared": ("lab3", ap_start(NOBODY_CALLED), LJMPW | COPY),
    "lab4 numbers": ("lab4", files("lab4", {**NO_APS, HANDSHAKE: NUMBERS_4}), {}),
    "lab3 local tracepoints": ("lab3", tracepoints(""), LJMPW | COPY | CALLED | LADDER | COUNT),
    "lab3 global tracepoints": (
        "lab3",
        tracepoints(ALL_GLOBAL),
        LJMPW | COPY | CALLED | LADDER | COUNT,
    ),
    "lab4 static tracepoints": (
        "lab4",
        files("lab4", {HANDSHAKE: FAKES_IN_C.format(bind="static")}),
        BOOT_STACK,
    ),
    "lab4 global tracepoints": (
        "lab4",
        files("lab4", {HANDSHAKE: FAKES_IN_C.format(bind="")}),
        BOOT_STACK,
    ),
    "lab1 parks": (
        "lab1",
        function(
            "lab1/vmm_main.c",
            "vmm_main",
            "asmlinkage void\nvmm_main (struct multiboot_info *mi_arg)",
            f"(void)mi_arg;\n{PARKS}",
        ),
        {},
    ),
    "lab2 parks": (
        "lab2",
        function(
            "lab2/stack.c",
            "start_all_processors",
            "void\nstart_all_processors (void (*b) (void), void (*a) (void))",
            f"(void)a;\n(void)b;\n{PARKS}\nfor (;;);",
        ),
        {},
    ),
    "lab3 parks": ("lab3", ap_start(PARKS), {}),
    "lab4 parks": (
        "lab4",
        files(
            "lab4",
            {**NO_APS, HANDSHAKE: LAB4_HEADERS + STUBS + "void ap_wait (void) { vmm_parked (); }"},
        ),
        {},
    ),
    "lab3 numbered bsp": (
        "lab3",
        ap_start("for (int i = 1; i < 4; i++)\n\t\tsegment_init_ap (i);", '#include "pcpu.h"'),
        {},
    ),
    "lab4 numbered bsp": ("lab4", files("lab4", {**NO_APS, HANDSHAKE: BSP_NUMBERED}), {}),
    "lab3 climbing bsp": ("lab3", ap_start(BSP_CLIMBS_3), {}),
    "lab4 climbing bsp": ("lab4", files("lab4", BSP_CLIMBS), {}),
    "lab3 the bsp counts": (
        "lab3",
        together(
            edited(APINIT, (COUNTED, LONG_WAY)),
            edited(AP_START, (SIPI, SIPI + "\t*apinitprocs = acpi_num_of_processors () - 1;\n")),
        ),
        SEEN_OF_A_LONG_WAY,
    ),
    "lab3 one ap counts for all": (
        "lab3",
        edited(APINIT, (COUNTED, LONG_WAY + COUNT_THREE)),
        SEEN_OF_A_LONG_WAY,
    ),
}

CONSTRUCTOR = (
    "__attribute__ ((constructor)) static void\nearly (void)\n{\n\tap_started = true;\n}\n"
)
BY_ITSELF = {
    "constructor": (AP_START, CONSTRUCTOR),
    "init_array": (APINIT, '\t.section .init_array, "aw"\n\t.quad ap_start\n'),
    "section of its own": (APINIT, '\t.section .hidden, "ax"\n\tnop\n'),
}


def refused(how):
    """The reference with code that would run by itself, which the build must refuse."""
    path, more = BY_ITSELF[how]

    def make(course):
        honest = dict(reference(course, ["lab3"]).files)
        return honest | {path: honest[path] + more.encode()}

    return make
