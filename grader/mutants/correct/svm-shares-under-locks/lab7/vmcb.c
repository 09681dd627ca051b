/* lab7: the VMCB, which describes a virtual CPU to the processor. */

#include "asm.h"
#include "mm.h"
#include "spinlock.h"
#include "string.h"
#include "svm.h"
#include "todo.h"
#include "x86.h"

static spinlock_t lock; /* guards what follows, until the VMCB is complete */
static u8 *iopm;	/* one for all CPUs */
static struct vmcb *vmcb;
static uint resets; /* for a debugger; nothing depends on it */

void
svm_vminit (struct vcpu *v, u64 n_cr3)
{
	spinlock_lock (&lock);
	if (!iopm) {
		iopm = alloc (SVM_IOPM_SIZE);
		memset (iopm, 0, SVM_IOPM_SIZE);
		iopm[COM1 / 8] = 0xFF; /* one bit for each port */
	}
	vmcb = alloc (sizeof *vmcb);
	memset (vmcb, 0, sizeof *vmcb);
	vmcb->intercept1 = INTERCEPT1_CPUID | INTERCEPT1_IOIO | INTERCEPT1_NMI |
			   INTERCEPT1_SHUTDOWN;
	vmcb->intercept2 = INTERCEPT2_VMRUN | INTERCEPT2_VMMCALL;
	vmcb->iopm_base_pa = (ulong)iopm - VMM_BASE;
	vmcb->guest_asid = 1;
	vmcb->tlb_control = TLB_FLUSH_ALL;
	vmcb->np_enable = 1;
	vmcb->n_cr3 = n_cr3;
	vmcb->g_pat = 0x0007040600070406;
	v->vmcb = vmcb;
	v->vmcbhost = alloc (sizeof *v->vmcbhost);
	spinlock_unlock (&lock);
}

void
svm_reset (struct vcpu *v, u16 cs, u16 ip)
{
	struct vmcb *vmcb = v->vmcb;
	struct vmcb_seg seg = { .sel = 0, .attr = 0x93, .limit = 0xFFFF };

	resets++;
	vmcb->es = vmcb->ss = vmcb->ds = vmcb->fs = vmcb->gs = seg;
	seg.attr = 0x82; /* LDT, APM 4.8.3 */
	vmcb->ldtr = seg;
	seg.attr = 0x8B; /* busy TSS of 32 bits */
	vmcb->tr = seg;
	vmcb->gdtr = (struct vmcb_seg){ .limit = 0xFFFF };
	vmcb->idtr = (struct vmcb_seg){ .limit = 0x3FF };
	vmcb->cs = (struct vmcb_seg){
		.sel = cs, .attr = 0x9B, .limit = 0xFFFF, .base = cs << 4
	};
	vmcb->cpl = 0;
	vmcb->efer = EFER_SVME;
	vmcb->cr0 = CR0_ET;
	vmcb->cr2 = vmcb->cr3 = vmcb->cr4 = 0;
	vmcb->dr6 = 0xFFFF0FF0;
	vmcb->dr7 = 0x400;
	vmcb->rflags = 2;
	vmcb->rip = ip;
	vmcb->rsp = vmcb->rax = 0;
	vmcb->interrupt_shadow = vmcb->eventinj = 0;
	memset (&v->regs, 0, sizeof v->regs);
}
