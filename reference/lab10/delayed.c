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

/* BEGIN SOLUTION lab10.1
 * TODO(lab10.1): what there is to remember.
 * STARTER:
 */
static void (*ap_start_func) (void); /* NULL: there is nothing to start */
/* END SOLUTION */

/* Remember how the APs are started.
 *
 * On entry: the BSP, on a machine that was booted by UEFI, no lock held,
 * interrupts off.  The APs still belong to the firmware: what starts them now
 * loses them again.
 *
 * Must: remember start for handle_ap_start, and return.  Do not call start, and
 * send no IPI. */
void
localapic_delayed_ap_start (void (*start) (void))
{
	/* BEGIN SOLUTION lab10.1
	 * TODO(lab10.1):
	 * STARTER: (void)start;
	 * STARTER: vmm_todo ("lab10.1");
	 */
	ap_start_func = start;
	/* END SOLUTION */
}

/* Let a virtual CPU go on as the firmware's code that has called the VMM: as if
 * uefi_entry had returned EFI_SUCCESS.
 *
 * On entry: the BSP, once; svm_vminit has been called, SVM is on, and the guest
 * does not run.  uefi_state is the firmware's state at uefi_entry, and at the
 * physical address uefi_state.rsp there is a struct uefi_frame
 * (include/uefi.h), anywhere in memory: above 4 GiB, too, and on two pages.
 * The VMM has left the firmware's DR6, DR7, TR, LDTR, PAT and all MSRs that
 * VMSAVE stores as they were; FS and GS are the VMM's.  All that this function
 * has to set may hold anything.
 *
 * Must: set the guest's state in v->vmcb and v->regs.  Nothing else in *v or in
 * the VMCB changes.
 *
 *   - CR0, CR3, CR4, GDTR, IDTR and the selectors of ES, CS, SS, DS, FS and GS:
 *     those of uefi_state.  EFER: that of uefi_state with SVME, without which
 *     VMRUN refuses a guest.
 *   - The hidden parts of these segments: base 0, limit 4 GiB, ring 0; CS is
 *     code of 64 bits, the others are writable data.  But FS and GS have the
 *     bases that uefi_state says.
 *   - TR, LDTR, the MSRs that VMSAVE stores, and the PAT in g_pat: what this
 *     CPU has now.
 *   - CPL and CR2: 0; DR6: 0xFFFF0FF0; DR7: 0x400.
 *   - RBX, RBP, RDI, RSI, R12 to R15 and RFLAGS: those in the struct
 *     uefi_frame.  RIP: its return address.  RSP: the address above it, as RET
 *     leaves it.
 *   - RAX: 0, which is EFI_SUCCESS.  No interrupt shadow, no event to
 *     inject. */
void
svm_state_uefi (struct vcpu *v)
{
	/* BEGIN SOLUTION lab10.2
	 * TODO(lab10.2):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab10.2");
	 */
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
	/* END SOLUTION */

	/* BEGIN SOLUTION lab10.3
	 * TODO(lab10.3):
	 * STARTER: vmm_todo ("lab10.3");
	 */
	const struct uefi_frame *frame =
		mapmem_hphys (u->rsp, sizeof *frame, 0);

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
	unmapmem ((void *)frame, sizeof *frame);
	/* END SOLUTION */
}

/* The guest is about to send INIT or SIPI: if the APs wait for that, start them
 * now.
 *
 * On entry: the CPU whose guest has written to its ICR, outside of its
 * guest, no lock held, interrupts off.  localapic_icr calls this function
 * for each INIT and each SIPI of the guest, before it asks
 * localapic_is_destination which virtual CPUs are meant; several CPUs may
 * call it at the same time.  But as long as the APs wait only the BSP runs a
 * guest.  The APIC id of the BSP need not be 0.
 *
 * Must: if localapic_delayed_ap_start was given a function, call it, but only
 * once in all.  When it has returned, call the init functions of group "dbsp",
 * in which the BSP meets the APs at the barriers that they come to.  If there
 * is nothing to call, as with a BIOS, do nothing.  Send no INIT and no SIPI
 * yourself.  On return APIC_ICR_HIGH may hold anything: its destination has
 * been read, and a guest under UEFI writes it again before each IPI. */
void
handle_ap_start (void)
{
	/* BEGIN SOLUTION lab10.4
	 * TODO(lab10.4):
	 * STARTER: vmm_todo ("lab10.4");
	 */
	void (*start) (void) = ap_start_func;

	if (!start)
		return;
	ap_start_func = NULL; /* before other CPUs run */
	start ();
	/* END SOLUTION */

	/* BEGIN SOLUTION lab10.5
	 * TODO(lab10.5):
	 * STARTER: vmm_todo ("lab10.5");
	 */
	call_initfunc ("dbsp");
	/* END SOLUTION */
}
