/* lab10: the delayed start of the APs, and the way back to the firmware. */

#include "ap.h"
#include "asm.h"
#include "initfunc.h"
#include "mm.h"
#include "string.h"
#include "svm.h"
#include "todo.h"
#include "uefi.h"
#include "x86.h"

#define SEG_CODE64 0xA9B /* present, ring 0, code of 64 bits, 4 KiB units */
#define SEG_DATA   0xC93 /* present, ring 0, writable data, 4 KiB units */

static void (*ap_start_func) (void); /* NULL: there is nothing to start */

void
localapic_delayed_ap_start (void (*start) (void))
{
	ap_start_func = start;
}

void
svm_state_uefi (struct vcpu *v)
{
	const struct uefi_state *u = &uefi_state;
	struct vmcb *vmcb = v->vmcb;
	struct vmcb_seg data = { .attr = SEG_DATA, .limit = 0xFFFFFFFF };

	asm_vmsave ((ulong)vmcb - VMM_BASE); /* TR, LDTR and MSRs; FS, GS not */
	vmcb->es = vmcb->ss = vmcb->ds = vmcb->fs = vmcb->gs = data;
	vmcb->es.sel = u->es;
	vmcb->ss.sel = u->ss;
	vmcb->ds.sel = u->ds;
	vmcb->fs.sel = u->fs;
	vmcb->fs.base = u->fs_base;
	vmcb->gs.sel = u->gs;
	vmcb->gs.base = u->gs_base;
	vmcb->cs = (struct vmcb_seg){ .sel = u->cs,
				      .attr = SEG_CODE64,
				      .limit = 0xFFFFFFFF };
	vmcb->gdtr = (struct vmcb_seg){ .limit = u->gdtr_limit,
					.base = u->gdtr_base };
	vmcb->idtr = (struct vmcb_seg){ .limit = u->idtr_limit,
					.base = u->idtr_base };
	vmcb->cpl = 0;
	vmcb->cr0 = u->cr0;
	vmcb->cr2 = 0;
	vmcb->cr3 = u->cr3;
	vmcb->cr4 = u->cr4;
	vmcb->efer = u->efer | EFER_SVME;
	vmcb->g_pat = asm_rdmsr (MSR_PAT);
	vmcb->dr6 = 0xFFFF0FF0;
	vmcb->dr7 = 0x400;

	bool high = u->rsp >= VMM_BASE - sizeof (struct uefi_frame);
	const struct uefi_frame *frame =
		high ? mapmem_hphys (u->rsp, sizeof *frame, 0) :
		       (void *)(u->rsp + VMM_BASE); /* the alias */

	memset (&v->regs, 0, sizeof v->regs);
	v->regs.rbx = frame->rbx;
	v->regs.rbp = frame->rbp;
	v->regs.rdi = frame->rdi;
	v->regs.rsi = frame->rsi;
	v->regs.r12 = frame->r12;
	v->regs.r13 = frame->r13;
	v->regs.r14 = frame->r14;
	v->regs.r15 = frame->r15;
	vmcb->rflags = frame->rflags;
	vmcb->rip = frame->rip;
	vmcb->rsp = u->rsp + sizeof *frame;
	vmcb->rax = 0;
	vmcb->interrupt_shadow = vmcb->eventinj = 0;
	if (high)
		unmapmem ((void *)frame, sizeof *frame);
}

void
handle_ap_start (void)
{
	void (*start) (void) = ap_start_func;

	if (!start)
		return;
	ap_start_func = NULL; /* before other CPUs run */
	start ();

	call_initfunc ("dbsp");
}
