"""Hidden checks: right solutions pass, starters do not, and they catch what others miss."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from vmmlab.author.mutants import Edit, load_variants, replaced, variant_files
from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.reference import reference, reference_text
from vmmlab.grading.request import RunRequest, default_seed
from vmmlab.report.make import report_lab
from vmmlab.report.terminal import render

pytestmark = pytest.mark.slow

COURSE = load_course(Path(__file__).parents[3])
LABS = [lab.name for lab in COURSE.labs.values() if lab.hidden]
FULL = {
    "lab1.hidden.initfuncs", "lab2.hidden.continue", "lab3.hidden.late", "lab4.hidden.cpus",
    "lab3", "lab4", "lab7.hidden.beyond", "lab7.hidden.string", "lab7.hidden.cpus", "lab7", "lab10",
    "lab9", "lab9.hidden.script", "lab9.hidden.race", "lab9.hidden.together",
}  # fmt: skip
"""The labs whose checks take long are left to `make test-full`."""
OWED: set[str] = set()
"""Labs for which no wrong solution is known yet that only the hidden checks catch."""
VARIANTS = [one for one in load_variants(COURSE, LABS) if "x86_64" in one.arches]


@dataclass(frozen=True)
class Wrong:
    """A wrong solution that all open checks let pass.

    Attributes:
        what: what is wrong in it.
        edits: how it differs from the reference.
        check: the hidden check that catches it, and the cause.
        by_luck: whether the open checks catch it depends on the timing of the CPUs.
    """

    what: str
    edits: tuple[Edit, ...]
    check: tuple[str, str]
    by_luck: bool = False


WRONG = (
    Wrong(
        "copies everything, then drops the modules, which this VMM does not use",
        (
            Edit(
                "lab1/vmm_main.c",
                "region",
                "lab1.1",
                1,
                """\
                uefi_booted = !mi_arg;
                if (!uefi_booted) {
                        memcpy (&mi, mi_arg, sizeof mi);
                        mi.mods_count = 0;
                }""",
            ),
        ),
        ("lab1.hidden.mi", "mi-copied-in-part"),
    ),
    Wrong(
        "sorts by the first 64 characters of an id",
        (
            Edit(
                "lab1/initfunc.c",
                "region",
                "lab1.3",
                1,
                """\
                static bool
                before (const struct initfunc_data *a, const struct initfunc_data *b)
                {
                        int order = strncmp (a->id, b->id, 64);

                        if (!order)
                                order = strcmp (a->filename, b->filename);
                        return order < 0;
                }""",
            ),
        ),
        ("lab1.hidden.initfuncs", "records-not-sorted"),
    ),
    Wrong(
        "writes the switch twice, and only the BSP's is right without optimisation",
        (
            Edit(
                "lab2/stack.c",
                "region",
                "lab2.2",
                1,
                """\
                void *newstack = alloc (VMM_STACKSIZE);

                currentcpu->stackaddr = newstack;
                asm volatile("xor %%ebp, %%ebp; mov %0, %%rsp; jmp *%1"
                             :
                             : "r"((ulong)newstack + VMM_STACKSIZE), "r"(initproc_arg)
                             : "memory");
                __builtin_unreachable ();""",
            ),
            Edit(
                "lab2/stack.c",
                "region",
                "lab2.3",
                1,
                """\
                asm volatile("xor %ebp, %ebp");
                asm volatile("mov %0, %%rsp" : : "r"(rsp));
                asm volatile("jmp *%0" : : "r"(jmpto) : "memory");
                __builtin_unreachable ();""",
            ),
        ),
        ("lab2.hidden.aps", "ap-not-on-own-stack"),
    ),
    Wrong(
        "goes on in bspinitproc1, whatever it is told",
        (
            Edit(
                "lab2/stack.c",
                "region",
                "lab2.2",
                1,
                """\
                void *newstack = alloc (VMM_STACKSIZE);

                (void)initproc_arg;
                currentcpu->stackaddr = newstack;
                asm_wrrsp_and_jmp ((ulong)newstack + VMM_STACKSIZE, bspinitproc1);""",
            ),
        ),
        ("lab2.hidden.continue", "argument-not-used"),
    ),
    Wrong(
        "stops every AP whose APIC id is 64 or more",
        (
            Edit(
                "lab3/apinit.S",
                "region",
                "lab3.5",
                1,
                """\
                #define CS_OFFSET(label)   label - cpuinit_start + APINIT_OFFSET
                #define COPY_OFFSET(label) label - cpuinit_start

                        lock incl %cs:CS_OFFSET (apinit_procs)
                        mov     $1, %eax
                        cpuid
                        shr     $24, %ebx
                        cmp     $64, %ebx
                        jae     stopped
                        xor     %ebx, %ebx
                        mov     %cs, %bx
                        shl     $4, %ebx
                        add     $APINIT_OFFSET, %ebx
                        lea     COPY_OFFSET (gdt)(%ebx), %eax
                        mov     %eax, %cs:CS_OFFSET (gdtr_base)
                        lea     COPY_OFFSET (cpuinit32)(%ebx), %eax
                        mov     %eax, %cs:CS_OFFSET (far32)
                        lgdtl   %cs:CS_OFFSET (gdtr)
                        mov     %cr0, %eax
                        or      $CR0_PE, %eax
                        mov     %eax, %cr0
                        ljmpl   *%cs:CS_OFFSET (far32)
                stopped:
                        hlt
                        jmp     stopped""",
            ),
        ),
        ("lab3.hidden.cpus", "ap-died-in-real-mode"),
    ),
    Wrong(
        "puts physical 0 back before ap_wait if three APs have come and more are listed",
        (
            Edit(
                "lab3/ap_start.c",
                "region",
                "lab3.7",
                1,
                """\
                bool three = *apinitprocs >= 3 && acpi_num_of_processors () > 4;

                if (three)
                        memcpy (jump, saved, sizeof saved);
                ap_wait ();
                if (!three)
                        memcpy (jump, saved, sizeof saved);
                unmapmem (jump, sizeof saved);
                unmapmem (apinit, size);
                ap_started = true;""",
            ),
        ),
        ("lab3.hidden.late", "physical-0-restored-too-early"),
        by_luck=True,
    ),
    Wrong(
        "takes the number of APs that have come for the APIC id of the one that has not",
        (
            Edit(
                "lab4/handshake.c",
                "region",
                "lab4.4",
                1,
                """\
                u32 expected = acpi_num_of_processors ();
                u32 waited = 0;
                u32 left;

                for (;;) {
                        spinlock_lock (&ap_lock);
                        left = num_of_processors;
                        spinlock_unlock (&ap_lock);
                        if (*apinitprocs == left && left + 1 >= expected)
                                break;
                        if (waited >= ap_delays.wait_us)
                                vmm_ap_missing (left + 1);
                        usleep (ap_delays.poll_us);
                        waited += ap_delays.poll_us;
                }""",
            ),
        ),
        ("lab4.hidden.missing", "wrong-cpu-named"),
    ),
    Wrong(
        "keeps who is in the barrier in 16 bits, and reads an MSR, which no exploration follows",
        (
            Edit(
                "lab4/sync.c",
                "function",
                "sync_all_processors",
                1,
                """\
                #include "asm.h"
                #include "pcpu.h"

                void
                sync_all_processors (void)
                {
                        static volatile u16 come;
                        u32 id;

                        if (!(asm_rdmsr (0x1B) & 0x800))
                                panic ("the APIC is off");
                        spinlock_lock (&sync_lock);
                        id = sync_id;
                        come |= 1 << currentcpu->cpunum;
                        if (come == (1 << (num_of_processors + 1)) - 1) {
                                come = 0;
                                sync_id = id + 1;
                        }
                        spinlock_unlock (&sync_lock);
                        while (sync_id == id)
                                asm_pause ();
                }""",
            ),
        ),
        ("lab4.hidden.cpus", "cpu-not-parked"),
    ),
    Wrong(
        "looks for CPUs among the first eight APIC ids only",
        (
            Edit(
                "lab5/panic_nmi.c",
                "region",
                "lab5.1",
                1,
                """\
                u32 id;

                if (!ap_started)
                        return;
                for (id = 0; id < 8; id++)
                        if (id != apic_id () && pcpu_of_apic_id (id))
                                apic_write_icr (id, ICR_ASSERT | ICR_NMI);""",
            ),
        ),
        ("lab5.hidden.cpus", "nmi-not-sent"),
    ),
    Wrong(
        "sends nothing before all CPUs have met at a barrier",
        (
            Edit(
                "lab5/panic_nmi.c",
                "region",
                "lab5.1",
                1,
                """\
                if (!sync_id)
                        return;
                apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);""",
            ),
        ),
        ("lab5.hidden.early", "nmi-not-sent"),
    ),
    Wrong(
        "has at most 80 KiB for one call",
        (
            Edit(
                "lab6/realmode.c",
                "region",
                "lab6.1",
                1,
                """\
                u16 *kib = mapmem_hphys (BDA_MEMORY_SIZE, sizeof *kib, MAPMEM_WRITE);
                u32 limit = *kib * 1024;

                if (len > limit || len > 80 * 1024)
                        panic ("alloc_realmodemem: %u bytes of %u", len, limit);
                *kib = (limit - len) / 1024;
                limit = *kib * 1024;
                unmapmem (kib, sizeof *kib);
                return limit;""",
            ),
        ),
        ("lab6.hidden.bios", "panics-without-a-reason"),
    ),
    Wrong(
        "lets a guest that has touched memory of the VMM try again",
        (
            Edit(
                "lab7/svm_loop.c",
                "region",
                "lab7.4",
                1,
                """\
                struct vmcb *vmcb = v->vmcb;

                for (;;) {
                        vmcb->efer |= EFER_SVME;
                        asm_vmrun_regs_64 (&v->regs, (ulong)vmcb - VMM_BASE,
                                           (ulong)v->vmcbhost - VMM_BASE);
                        switch (vmcb->exitcode) {
                        case VMEXIT_CPUID:
                                do_cpuid (v);
                                break;
                        case VMEXIT_VMMCALL:
                                do_vmmcall (v);
                                break;
                        case VMEXIT_IOIO:
                                do_ioio (v);
                                break;
                        case VMEXIT_NPF:
                        case VMEXIT_NMI:
                                break;
                        default:
                                panic ("guest exit 0x%llx, info 0x%llx 0x%llx, "
                                       "CS:RIP 0x%x:0x%llx",
                                       vmcb->exitcode, vmcb->exitinfo1, vmcb->exitinfo2,
                                       vmcb->cs.sel, vmcb->rip);
                        }
                }""",
            ),
        ),
        ("lab7.hidden.beyond", "unknown-exit-ignored"),
    ),
    Wrong(
        "refuses OUTS, and carries out INS as if it were IN",
        (
            Edit(
                "lab7/svm_loop.c",
                "region",
                "lab7.8",
                1,
                """\
                struct vmcb *vmcb = v->vmcb;
                u64 info = vmcb->exitinfo1;
                u16 port = info >> IOIO_PORT_SHIFT;

                if ((info & IOIO_STR) && !(info & IOIO_IN))
                        panic ("OUTS at port 0x%x, RIP 0x%llx", port, vmcb->rip);
                switch (info & (IOIO_IN | IOIO_SZ8 | IOIO_SZ16 | IOIO_SZ32)) {
                case IOIO_IN | IOIO_SZ8:
                        vmcb->rax = (vmcb->rax & ~0xFFULL) | asm_inb (port);
                        break;
                case IOIO_IN | IOIO_SZ16:
                        vmcb->rax = (vmcb->rax & ~0xFFFFULL) | asm_inw (port);
                        break;
                case IOIO_IN | IOIO_SZ32:
                        vmcb->rax = asm_inl (port);
                        break;
                case IOIO_SZ8:
                        asm_outb (port, vmcb->rax);
                        break;
                case IOIO_SZ16:
                        asm_outw (port, vmcb->rax);
                        break;
                case IOIO_SZ32:
                        asm_outl (port, vmcb->rax);
                        break;
                }
                vmcb->rip = vmcb->exitinfo2;""",
            ),
        ),
        ("lab7.hidden.string", "string-io-not-refused"),
    ),
    Wrong(
        "has host save areas for four CPUs, and one more that all others share",
        (
            Edit(
                "lab7/svm_init.c",
                "region",
                "lab7.1",
                1,
                """\
                static void *own[16];
                static void *late;
                void **slot = &late;
                u32 apic_id (void);

                if (apic_id () < 4)
                        slot = &own[apic_id ()];
                if (!*slot)
                        *slot = alloc (PAGESIZE);
                asm_wrmsr (MSR_EFER, asm_rdmsr (MSR_EFER) | EFER_SVME);
                asm_wrmsr (MSR_VM_HSAVE_PA, (ulong)*slot - VMM_BASE);""",
            ),
        ),
        ("lab7.hidden.cpus", "hsave-shared"),
        by_luck=True,
    ),
    Wrong(
        "takes a single AP for none, and does not meet it",
        (
            Edit(
                "lab10/delayed.c",
                "region",
                "lab10.5",
                1,
                """\
                if (num_of_processors != 1)
                        call_initfunc ("dbsp");""",
            ),
        ),
        ("lab10.hidden.two", "group-not-called"),
    ),
    Wrong(
        "hides the last pages by their number in 2 MiB, which is 0 if they are all of them",
        (
            Edit(
                "lab8/np.c",
                "region",
                "lab8.3",
                1,
                """\
                u64 start, end, whole, pages;

                mm_vmm_memory (&start, &end);
                start &= ~(u64)PAGESIZE_MASK;
                whole = end & ~(TWO_MIB - 1);
                pages = (end + PAGESIZE_MASK) >> SHIFT_PT & (ENTRIES - 1);
                np_map (start, 0, whole - start, false, false);
                np_map (whole, 0, pages * PAGESIZE, false, false);""",
            ),
        ),
        ("lab8.hidden.vmm", "vmm-not-hidden"),
    ),
    Wrong(
        "an IPI to all comes to the first four virtual CPUs only",
        (
            Edit(
                "lab9/localapic.c",
                "region",
                "lab9.4",
                1,
                """\
                u32 mode = low & ICR_MODE_MASK;
                u32 i;

                if (mode != ICR_INIT && mode != ICR_STARTUP)
                        return false;
                if (mode == ICR_INIT && (low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
                        return true;
                handle_ap_start ();
                for (i = 0; i <= num_of_processors; i++) {
                        if (i > 3 && (low & ICR_SHORTHAND_MASK) == ICR_ALL)
                                break;
                        if (!localapic_is_destination (vcpus[i], sender, low, dest))
                                continue;
                        if (mode == ICR_INIT)
                                localapic_signal_init (vcpus[i]);
                        else
                                localapic_signal_sipi (vcpus[i], low & ICR_VECTOR_MASK);
                }
                return true;""",
            ),
        ),
        ("lab9.hidden.script", "init-not-obeyed"),
    ),
    Wrong(
        "the BSP looks for an INIT before it clears GIF",
        (
            Edit(
                "lab9/localapic.c",
                "region",
                "lab9.1",
                1,
                """\
                if (!currentcpu->cpunum) {
                        while (v->startup != VCPU_RUNS)
                                localapic_wait_for_sipi (v);
                        asm_clgi ();
                        return;
                }
                for (;;) {
                        asm_clgi ();
                        if (v->startup == VCPU_RUNS)
                                return;
                        asm_stgi ();
                        localapic_wait_for_sipi (v);
                }""",
            ),
        ),
        ("lab9.hidden.race", "init-lost-on-entry"),
    ),
    Wrong(
        "the BSP has a variable for the vector of a SIPI, and all APs have one",
        (
            Edit(
                "lab9/localapic.c",
                "region",
                "lab9.7",
                1,
                """\
                static u8 vectors[2];
                u8 *mine = &vectors[currentcpu->cpunum != 0];

                *mine = vector;
                __sync_bool_compare_and_swap (&v->startup, VCPU_WAITS, *mine);""",
            ),
        ),
        ("lab9.hidden.together", "calls-share-variables"),
    ),
)


def cases(names, ids):
    marks = {one: pytest.mark.full if one in FULL else () for one in ids}
    return [pytest.param(one, id=id, marks=marks[id]) for one, id in zip(names, ids, strict=True)]


def grade(lab, files, **more):
    numbers = Cohort.derive(more.pop("cohort", "dev"))
    hidden, select = more.pop("hidden", True), more.pop("select", None)
    more.setdefault("seed", default_seed(lab, numbers.name))
    request = RunRequest(
        course=COURSE, lab=lab, files=files, cohort=numbers, sandbox_required=False, **more
    )
    return report_lab(request, hidden=hidden, select=select)


def wrong_files(wrong):
    lab = wrong.check[0].partition(".")[0]
    files = dict(reference(COURSE, [lab]).files)
    for name in {edit.file for edit in wrong.edits}:
        text = reference_text(COURSE, name)
        for edit in (one for one in wrong.edits if one.file == name):
            text = replaced(text, edit, who=wrong.what)
        files[name] = text.encode()
    return lab, files


def test_every_lab_with_steps_has_some():
    assert [lab.name for lab in COURSE.labs.values() if lab.steps] == LABS
    have = {one.check[0].partition(".")[0] for one in WRONG}
    assert have | OWED == set(LABS)
    assert not have & OWED, "take it off the list"


@pytest.mark.parametrize(
    "lab",
    [pytest.param(lab, marks=pytest.mark.full if at % 3 else ()) for at, lab in enumerate(LABS)],
)
def test_the_reference_earns_all_hidden_points(lab):
    report = grade(lab, reference(COURSE, [lab]).files)
    assert [one.id for one in report.checks if one.outcome != "pass"] == []
    assert report.points == report.max == COURSE.lab(lab).points
    assert report.hidden_points == report.hidden_max == COURSE.lab(lab).hidden_points > 0


@pytest.mark.parametrize("lab", cases(LABS, LABS))
def test_the_starter_earns_none(lab):
    report = grade(lab, reference(COURSE, [lab], steps=()).files)
    assert (report.points, report.hidden_points) == (0, 0)
    assert {one.outcome for one in report.checks if one.visibility == "hidden"} == {"skipped"}


@pytest.mark.parametrize("wrong", cases(WRONG, [one.check[0] for one in WRONG]))
def test_they_catch_what_the_open_checks_let_pass(wrong):
    lab, files = wrong_files(wrong)
    report = grade(lab, files)
    checks = {one.id: one for one in report.checks}
    assert report.build.ok, report.build.diagnostics
    assert wrong.by_luck or report.points == report.max, "the open checks see nothing"
    assert checks[wrong.check[0]].cause == wrong.check[1]
    assert report.hidden_points < report.hidden_max
    again = checks[wrong.check[0]].again
    assert again.endswith(f"--hidden -k {wrong.check[0]}")


def test_what_an_instructor_and_a_student_read():
    lab, files = wrong_files(WRONG[1])
    report = grade(lab, files)
    assert "lab1  20/20 points  hidden checks 2/4" in render(report)
    assert "records-not-sorted" not in render(report)
    shown = render(grade(lab, files, hidden=False))
    assert "judged elsewhere" not in shown  # the kit has them itself
    assert "lab1.hidden" not in shown
    assert "All points. lab1 is done" in shown
    # Nothing is said about checks that were not selected, in particular not that they earned 0.
    assert "hidden checks" not in render(grade(lab, files, select="lab1.mi.copied"))
    assert "hidden checks 1/3" in render(grade(lab, files, select=WRONG[1].check[0]))


@pytest.mark.full
def test_for_i386_there_are_none():
    report = grade("lab3", reference(COURSE, ["lab3"]).files, arch="i386")
    assert (report.hidden_max, report.hidden_judged) == (0, False)
    assert report.points == report.max == COURSE.lab("lab3").points_of("i386")


WAYS = [{"cohort": "dev"}, {"cohort": "autumn", "seed": 7}, {"opt": "-O0", "seed": 8}]


@pytest.mark.full
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_no_right_solution_is_accused(variant, way):
    report = grade(variant.lab, variant_files(COURSE, variant), **way)
    assert [(c.id, c.cause, c.observed) for c in report.checks if c.outcome != "pass"] == []
    assert report.hidden_points == report.hidden_max


@pytest.mark.full
@pytest.mark.parametrize("lab", LABS)
@pytest.mark.parametrize("seed", range(5))
def test_the_reference_in_another_cohort_with_other_seeds(lab, seed):
    report = grade(lab, reference(COURSE, [lab]).files, cohort="spring", seed=seed)
    assert report.hidden_points == report.hidden_max
