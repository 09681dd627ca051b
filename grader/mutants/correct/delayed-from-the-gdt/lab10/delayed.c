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

#define WAITS 1

/* A flag beside the function, cleared by an exchange. */
static void (*remembered) (void);
static volatile u32 waits;

void
localapic_delayed_ap_start (void (*start) (void))
{
	remembered = start;
	waits = WAITS;
}

/* The hidden part of a segment, as its descriptor in the firmware's GDT has it. */
static struct vmcb_seg
from_gdt (u16 sel, u64 base)
{
	const u64 *entry = mapmem_hphys (
		uefi_state.gdtr_base + (sel & ~7), sizeof *entry, 0);
	struct vmcb_seg seg = { .sel = sel, .base = base };
	u32 limit = (*entry & 0xFFFF) | (*entry >> 32 & 0xF0000);

	seg.attr = (*entry >> 40 & 0xFF) | (*entry >> 44 & 0xF00);
	seg.limit = seg.attr & 0x800 ? limit << 12 | 0xFFF : limit;
	unmapmem ((void *)entry, sizeof *entry);
	return seg;
}

void
svm_state_uefi (struct vcpu *v)
{
	struct vmcb *c = v->vmcb;
	u64 word[10], *gpr = &v->regs.rbx;
	const u64 *stack;
	uint i;

	/* The whole of a scratch VMCB, to take from it what is the CPU's. */
	struct vmcb *now = alloc (sizeof *now);

	memset (now, 0, sizeof *now);
	asm volatile("vmsave" : : "a"((ulong)now - VMM_BASE) : "memory");
	c->tr = now->tr;
	c->ldtr = now->ldtr;
	memcpy (&c->star, &now->star, offsetof (struct vmcb, cr2) -
					      offsetof (struct vmcb, star));

	c->cs = from_gdt (uefi_state.cs, 0);
	c->ss = from_gdt (uefi_state.ss, 0);
	c->ds = from_gdt (uefi_state.ds, 0);
	c->es = from_gdt (uefi_state.es, 0);
	c->fs = from_gdt (uefi_state.fs, uefi_state.fs_base);
	c->gs = from_gdt (uefi_state.gs, uefi_state.gs_base);
	c->gdtr.base = uefi_state.gdtr_base;
	c->gdtr.limit = uefi_state.gdtr_limit;
	c->idtr.base = uefi_state.idtr_base;
	c->idtr.limit = uefi_state.idtr_limit;
	c->cr4 = uefi_state.cr4;
	c->cr3 = uefi_state.cr3;
	c->cr0 = uefi_state.cr0;
	c->efer = uefi_state.efer + (uefi_state.efer & EFER_SVME ? 0 : EFER_SVME);
	c->g_pat = asm_rdmsr (MSR_PAT);
	c->dr6 = 0xFFFF0FF0;
	c->dr7 = 0x400;
	c->cr2 = c->cpl = 0;
	c->eventinj = 0;
	c->interrupt_shadow = 0;

	stack = mapmem_hphys (uefi_state.rsp, sizeof word, 0);
	memcpy (word, stack, sizeof word);
	unmapmem ((void *)stack, sizeof word);
	for (i = 0; i < sizeof v->regs / 8; i++)
		gpr[i] = 0;
	c->rflags = word[0];
	for (i = 0; i < 4; i++)
		gpr[13 - i] = word[1 + i]; /* R15 to R12 */
	v->regs.rsi = word[5];
	v->regs.rdi = word[6];
	v->regs.rbp = word[7];
	v->regs.rbx = word[8];
	c->rip = word[9];
	c->rsp = uefi_state.rsp + sizeof word;
	c->rax = 0;
}

void
handle_ap_start (void)
{
	if (!waits || !__sync_bool_compare_and_swap (&waits, WAITS, 0))
		return;
	remembered ();
	call_initfunc ("dbsp");
}
