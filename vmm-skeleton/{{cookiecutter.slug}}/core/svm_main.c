/* The loop of a virtual CPU whose local APIC the VMM watches.  It takes the
 * place of lab7's svm_start_vm. */

#include "apic.h"
#include "asm.h"
#include "linkage.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "printf.h"
#include "string.h"
#include "svm.h"
#include "x86.h"

#define WRMSR_LEN   2
#define MSR_WRITE   1 /* vmcb.exitinfo1: APM 15.11 */
#define MSRPM_WRITE 2

/* An NMI brings a virtual CPU out of its guest. */
bool
nmi_expected (void)
{
	return true;
}

/* The page of the APIC stays read-only, as lab8 leaves it. */
void
localapic_mmio_register (void)
{
}

static void
intercept_msr_write (u8 *msrpm, u32 msr)
{
	msrpm[msr / 4] |= MSRPM_WRITE << (msr % 4 * 2);
}

/* Intercept writes to the MSRs of the APIC that matter here.  lab7 may have
 * made a map of its own. */
void
localapic_vcpu_init (struct vcpu *v)
{
	struct vmcb *vmcb = v->vmcb;
	u8 *msrpm;

	if (vmcb->intercept1 & INTERCEPT1_MSR) {
		msrpm = (u8 *)(ulong)(vmcb->msrpm_base_pa + VMM_BASE);
	} else {
		msrpm = alloc (SVM_MSRPM_SIZE);
		memset (msrpm, 0, SVM_MSRPM_SIZE);
		vmcb->msrpm_base_pa = (ulong)msrpm - VMM_BASE;
		vmcb->intercept1 |= INTERCEPT1_MSR;
	}
	intercept_msr_write (msrpm, MSR_APIC_BASE);
	intercept_msr_write (msrpm, MSR_X2APIC_ICR);
}

static void
inject_exception (struct vmcb *vmcb, uint vector)
{
	vmcb->eventinj = EVENT_VALID | EVENT_EXCEPTION | vector;
	if (vector == VECTOR_GP)
		vmcb->eventinj |= EVENT_ERROR_CODE; /* which is 0 */
}

static void
next_instruction (struct vmcb *vmcb, uint len)
{
	vmcb->rip += len;
	vmcb->interrupt_shadow = 0;
}

static noreturn void
unknown_exit (struct vmcb *vmcb)
{
	panic ("guest exit 0x%llx, info 0x%llx 0x%llx, CS:RIP 0x%x:0x%llx",
	       vmcb->exitcode, vmcb->exitinfo1, vmcb->exitinfo2, vmcb->cs.sel,
	       vmcb->rip);
}

/* A guest that writes to its APIC in a way that is not decoded has made no
 * mistake, but it cannot go on.  It gets an exception; the VMM and the other
 * virtual CPUs go on. */
static void
do_unknown_write (struct vmcb *vmcb, const u8 *code, uint len)
{
	char text[INSTRUCTION_MAX * 3 + 1];
	uint i;

	for (i = 0; i < len; i++) {
		text[i * 3] = ' ';
		text[i * 3 + 1] = "0123456789abcdef"[code[i] >> 4];
		text[i * 3 + 2] = "0123456789abcdef"[code[i] & 15];
	}
	text[len * 3] = '\0';
	printf ("CPU %d: its guest writes to the APIC, 0x%llx, by an "
		"instruction that is not decoded, at CS:RIP 0x%x:0x%llx:%s\n",
		currentcpu->cpunum, vmcb->exitinfo2, vmcb->cs.sel, vmcb->rip,
		text);
	inject_exception (vmcb, VECTOR_UD);
}

/* Nested page fault.  Only a write to the registers of the APIC is handled;
 * they are 32 bits wide, at multiples of 16 (APM 16.3.2).  If the processor
 * writes there while it delivers an event, then no instruction does: that
 * guest's stack is in the page of its APIC, and no exception can tell it. */
static void
do_npf (struct vcpu *v)
{
	struct vmcb *vmcb = v->vmcb;
	u64 offset = vmcb->exitinfo2 - APIC_PHYS;
	u8 code[INSTRUCTION_MAX];
	u32 value;
	uint len;

	if (offset >= PAGESIZE || !(vmcb->exitinfo1 & NPF_WRITE) ||
	    vmcb->exitintinfo & EVENT_VALID)
		unknown_exit (vmcb);
	if (localapic_decode (v, &value, &len, code) && !(offset & 15)) {
		next_instruction (vmcb, len);
		localapic_write (v, offset, value);
	} else {
		do_unknown_write (vmcb, code, len);
	}
}

/* WRMSR; reads are not intercepted.  The APIC stays where it is, enabled and in
 * the mode that it is in: the page that is read-only stays its page, and an NMI
 * of the VMM reaches it. */
static void
do_msr (struct vcpu *v)
{
	struct vmcb *vmcb = v->vmcb;
	u64 value = (u32)vmcb->rax | v->regs.rdx << 32;

	if (!(vmcb->exitinfo1 & MSR_WRITE))
		unknown_exit (vmcb);
	switch ((u32)v->regs.rcx) {
	case MSR_APIC_BASE:
		if (value != asm_rdmsr (MSR_APIC_BASE)) {
			printf ("CPU %d: its guest sets IA32_APIC_BASE to "
				"0x%llx, which cannot be\n",
				currentcpu->cpunum, value);
			inject_exception (vmcb, VECTOR_GP);
			return;
		}
		break;
	case MSR_X2APIC_ICR:
		next_instruction (vmcb, WRMSR_LEN);
		localapic_x2apic_icr (v, value);
		return;
	default:
		unknown_exit (vmcb);
	}
	next_instruction (vmcb, WRMSR_LEN);
}

static void
handle_exit (struct vcpu *v)
{
	switch (v->vmcb->exitcode) {
	case VMEXIT_CPUID:
		do_cpuid (v);
		break;
	case VMEXIT_VMMCALL:
		if ((u32)v->vmcb->rax == VMMCALL_EXITS)
			exits_print ();
		do_vmmcall (v);
		break;
	case VMEXIT_IOIO:
		do_ioio (v);
		break;
	case VMEXIT_MSR:
		do_msr (v);
		break;
	case VMEXIT_NPF:
		do_npf (v);
		break;
	/* It has come when GIF was set again.  One that was meant for the
	 * guest is lost: nothing tells who has sent it. */
	case VMEXIT_NMI:
		break;
	default:
		unknown_exit (v->vmcb);
	}
}

/* BitVisor's core/svm_main.c has the loop under this name.  An exit may come
 * while the processor delivers an event to the guest: inject it again (APM
 * 15.7.2). */
void
svm_mainloop (struct vcpu *v)
{
	struct vmcb *vmcb = v->vmcb;

	for (;;) {
		localapic_enter (v); /* GIF is 0 from here on */
		vmcb->efer |= EFER_SVME;
		asm_vmrun_regs_64 (&v->regs, (ulong)vmcb - VMM_BASE,
				   (ulong)v->vmcbhost - VMM_BASE);
		vmcb->eventinj = 0;
		if (vmcb->exitintinfo & EVENT_VALID)
			vmcb->eventinj = vmcb->exitintinfo;
		exits_count (v);
		handle_exit (v);
	}
}
