/* lab7: the fields of a VMCB are written through pointers to them. */

#include "asm.h"
#include "mm.h"
#include "string.h"
#include "svm.h"
#include "todo.h"
#include "x86.h"

static void
set_seg (struct vmcb_seg *seg, u16 sel, u16 attr, u32 limit, u64 base)
{
	seg->sel = sel;
	seg->attr = attr;
	seg->limit = limit;
	seg->base = base;
}

static void
clear (u64 *field)
{
	*field = 0;
}

void
svm_vminit (struct vcpu *v, u64 n_cr3)
{
	u8 *iopm = alloc (SVM_IOPM_SIZE);
	struct vmcb *vmcb = alloc (sizeof *vmcb);

	memset (iopm, 0, SVM_IOPM_SIZE);
	iopm[COM1 / 8] = 0xFF;
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
}

void
svm_reset (struct vcpu *v, u16 cs, u16 ip)
{
	struct vmcb *vmcb = v->vmcb;

	set_seg (&vmcb->cs, cs, 0x9B, 0xFFFF, cs << 4);
	set_seg (&vmcb->es, 0, 0x93, 0xFFFF, 0);
	set_seg (&vmcb->ss, 0, 0x93, 0xFFFF, 0);
	set_seg (&vmcb->ds, 0, 0x93, 0xFFFF, 0);
	set_seg (&vmcb->fs, 0, 0x93, 0xFFFF, 0);
	set_seg (&vmcb->gs, 0, 0x93, 0xFFFF, 0);
	set_seg (&vmcb->ldtr, 0, 0x82, 0xFFFF, 0);
	set_seg (&vmcb->tr, 0, 0x8B, 0xFFFF, 0);
	set_seg (&vmcb->gdtr, 0, 0, 0xFFFF, 0);
	set_seg (&vmcb->idtr, 0, 0, 0x3FF, 0);
	clear (&vmcb->rsp);
	clear (&vmcb->cr2);
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
