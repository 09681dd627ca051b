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

static struct {
	void (*start) (void);
	bool done;
} later;

void
localapic_delayed_ap_start (void (*start) (void))
{
	later.start = start;
	later.done = false;
}

static struct vmcb_seg
flat (u16 sel, u16 attr)
{
	return (struct vmcb_seg){ sel, attr, 0xFFFFFFFF, 0 };
}

/* Real mode first, and then all that is different. */
void
svm_state_uefi (struct vcpu *v)
{
	struct uefi_state u = uefi_state;
	struct vmcb *c = v->vmcb;
	struct uefi_frame frame, *there;

	svm_reset (v, 0, 0);
	asm_vmsave ((ulong)c - VMM_BASE);
	c->g_pat = asm_rdmsr (MSR_PAT);
	c->cs = flat (u.cs, 0xA9B);
	c->ss = flat (u.ss, 0xC93);
	c->ds = flat (u.ds, 0xC93);
	c->es = flat (u.es, 0xC93);
	c->fs = flat (u.fs, 0xC93);
	c->gs = flat (u.gs, 0xC93);
	c->fs.base = u.fs_base;
	c->gs.base = u.gs_base;
	c->gdtr.base = u.gdtr_base;
	c->gdtr.limit = u.gdtr_limit;
	c->idtr.base = u.idtr_base;
	c->idtr.limit = u.idtr_limit;
	c->cr0 = u.cr0;
	c->cr3 = u.cr3;
	c->cr4 = u.cr4;
	c->efer |= u.efer;

	there = mapmem_hphys (u.rsp, sizeof frame, 0);
	frame = *there;
	unmapmem (there, sizeof frame);
	v->regs = (struct svm_vmrun_regs){
		.rbx = frame.rbx,
		.rbp = frame.rbp,
		.rsi = frame.rsi,
		.rdi = frame.rdi,
		.r12 = frame.r12,
		.r13 = frame.r13,
		.r14 = frame.r14,
		.r15 = frame.r15,
		.rcx = 0x1234, /* belongs to nobody after a call */
	};
	c->rflags = frame.rflags;
	c->rip = frame.rip;
	c->rsp = u.rsp + 10 * sizeof (u64);
}

/* Only the BSP has a guest until the function has returned: it may be cleared
 * then. */
void
handle_ap_start (void)
{
	if (later.start && !later.done) {
		later.start ();
		later.done = true;
		call_initfunc ("dbsp");
	}
}
