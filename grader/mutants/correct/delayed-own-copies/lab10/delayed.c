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

/* What is to be done at the next INIT or SIPI: nothing, to begin with. */
static void
nothing (void)
{
}

static void (*next) (void) = nothing;

void
localapic_delayed_ap_start (void (*start) (void))
{
	next = start;
}

static void
prepare_system (struct vmcb *c)
{
	static const struct {
		u32 msr;
		u16 offset;
	} msrs[] = {
		{ 0xC0000081, offsetof (struct vmcb, star) },
		{ 0xC0000082, offsetof (struct vmcb, lstar) },
		{ 0xC0000083, offsetof (struct vmcb, cstar) },
		{ 0xC0000084, offsetof (struct vmcb, sfmask) },
		{ 0xC0000102, offsetof (struct vmcb, kernel_gs_base) },
		{ 0x174, offsetof (struct vmcb, sysenter_cs) },
		{ 0x175, offsetof (struct vmcb, sysenter_esp) },
		{ 0x176, offsetof (struct vmcb, sysenter_eip) },
		{ MSR_PAT, offsetof (struct vmcb, g_pat) },
	};
	uint i;

	asm_vmsave ((ulong)c - VMM_BASE); /* TR and LDTR */
	for (i = 0; i < NUM_OF (msrs); i++)
		*(u64 *)((u8 *)c + msrs[i].offset) = asm_rdmsr (msrs[i].msr);
}

static void
prepare_segments (struct vmcb *c)
{
	struct vmcb_seg data = { .attr = 0xCF3 & ~0x60, /* ring 0 */
				 .limit = 0xFFFFFFFF };

	c->es = c->ss = c->ds = c->fs = c->gs = data;
	c->es.sel = uefi_state.es;
	c->ss.sel = uefi_state.ss;
	c->ds.sel = uefi_state.ds;
	c->fs.sel = uefi_state.fs;
	c->gs.sel = uefi_state.gs;
	c->fs.base = uefi_state.fs_base;
	c->gs.base = uefi_state.gs_base;
	c->cs.sel = uefi_state.cs;
	c->cs.attr = 0x29B; /* without granularity */
	c->cs.limit = 0xFFFFF;
	c->cs.base = 0;
	c->gdtr.limit = uefi_state.gdtr_limit;
	c->gdtr.base = uefi_state.gdtr_base;
	c->idtr.limit = uefi_state.idtr_limit;
	c->idtr.base = uefi_state.idtr_base;
}

static void
prepare_registers (struct vcpu *v)
{
	struct uefi_frame *f = (void *)(ulong)(uefi_state.rsp + VMM_BASE);
	u64 size = sizeof *f;

	if (uefi_state.rsp + size > VMM_ALIAS_SIZE)
		f = mapmem_hphys (uefi_state.rsp, size, 0); /* for ever */
	v->regs.rbx = f->rbx;
	v->regs.rbp = f->rbp;
	v->regs.rsi = f->rsi;
	v->regs.rdi = f->rdi;
	v->regs.r12 = f->r12;
	v->regs.r13 = f->r13;
	v->regs.r14 = f->r14;
	v->regs.r15 = f->r15;
	v->vmcb->rflags = f->rflags;
	v->vmcb->rip = f->rip;
	v->vmcb->rsp = uefi_state.rsp + size;
	v->vmcb->rax = 0;
}

void
svm_state_uefi (struct vcpu *v)
{
	struct vmcb *c = v->vmcb;

	prepare_system (c);
	prepare_segments (c);
	prepare_registers (v);
	c->cr0 = uefi_state.cr0;
	c->cr2 = 0;
	c->cr3 = uefi_state.cr3;
	c->cr4 = uefi_state.cr4;
	c->efer = EFER_SVME | uefi_state.efer;
	c->cpl = 0;
	c->dr6 = 0xFFFF0FF0;
	c->dr7 = 0x400;
	c->interrupt_shadow = 0;
	c->eventinj = 0;
}

/* Several CPUs may come here, but only the first one gets the function. */
void
handle_ap_start (void)
{
	void (*mine) (void) = __atomic_exchange_n (&next, nothing,
						   __ATOMIC_SEQ_CST);

	mine ();
	if (mine != nothing)
		call_initfunc ("dbsp");
}
