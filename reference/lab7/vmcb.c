/* lab7: the VMCB, which describes a virtual CPU to the processor. */

#include "asm.h"
#include "mm.h"
#include "string.h"
#include "svm.h"
#include "todo.h"
#include "x86.h"

/* Make the VMCB of a virtual CPU: what exits from the guest, and through which
 * page tables it sees memory.
 *
 * On entry: each CPU calls it once for its own virtual CPU, several at the same
 * time, no lock held.  *v is all 0.  n_cr3 is the physical address of the
 * nested page tables.  What alloc returns is not 0.
 *
 * Must: set v->vmcb to a page of its own, and v->vmcbhost to another one.  In
 * v->vmcb every field is 0 but these and those of svm_reset:
 *
 *   - intercepts: VMRUN, without which the processor refuses the VMCB; VMMCALL;
 *     CPUID; shutdown, which would reset the machine; NMI, which belongs to the
 *     VMM; and the I/O ports of COM1, 0x3F8 to 0x3FF.  Intercept what else you
 *     like if svm_start_vm handles it; what it does not handle must not be
 *     intercepted.  External interrupts go to the guest.
 *   - iopm_base_pa, and msrpm_base_pa if you intercept MSRs: maps of
 *     SVM_IOPM_SIZE and SVM_MSRPM_SIZE bytes, page-aligned, in which a set bit
 *     intercepts.
 *   - guest_asid: not 0, which is the VMM's own.
 *   - tlb_control: the first VMRUN must flush what the TLB has of this ASID.
 *   - np_enable: bit 0, nested paging; n_cr3.
 *   - g_pat: 0x0007040600070406, the PAT after a reset (APM 7.8.1). */
void
svm_vminit (struct vcpu *v, u64 n_cr3)
{
	/* BEGIN SOLUTION lab7.2
	 * TODO(lab7.2):
	 * STARTER: (void)v;
	 * STARTER: (void)n_cr3;
	 * STARTER: vmm_todo ("lab7.2");
	 */
	u8 *iopm = alloc (SVM_IOPM_SIZE);
	struct vmcb *vmcb = alloc (sizeof *vmcb);

	memset (iopm, 0, SVM_IOPM_SIZE);
	iopm[COM1 / 8] = 0xFF; /* one bit for each port */
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
	/* END SOLUTION */
}

/* Let a virtual CPU start in real mode at cs:ip, in the state after INIT.
 *
 * On entry: the CPU whose virtual CPU it is, several at the same time;
 * svm_vminit has been called, and the guest does not run.  It may have run
 * before: every field below may hold anything.
 *
 * Must: set the guest's state in v->vmcb and v->regs (APM table 14-1; real mode
 * has no privilege level, so CPL is 0):
 *
 *   - CS: selector cs, base cs * 16, limit 0xFFFF, attr 0x9B.  ES, SS, DS, FS,
 *     GS: selector and base 0, limit 0xFFFF, attr 0x93.  LDTR: the same with
 *     attr 0x82.  TR: the same with attr 0x8B.
 *   - GDTR: base 0, limit 0xFFFF.  IDTR: base 0, limit 0x3FF, the interrupt
 *     table of real mode.
 *   - CR0: only ET is set, so the caches are on, as a BIOS leaves them.  CR2,
 *     CR3, CR4: 0.  DR6: 0xFFFF0FF0.  DR7: 0x400.
 *   - EFER: SVME, without which VMRUN refuses a guest, and no other bit.
 *   - RFLAGS: 2, whose bit is always set.  RIP: ip.  RAX, RSP and all of
 *     v->regs: 0.  No interrupt shadow, no event to inject.
 *
 * What svm_vminit has set stays as it is. */
void
svm_reset (struct vcpu *v, u16 cs, u16 ip)
{
	/* BEGIN SOLUTION lab7.3
	 * TODO(lab7.3):
	 * STARTER: (void)v;
	 * STARTER: (void)cs;
	 * STARTER: (void)ip;
	 * STARTER: vmm_todo ("lab7.3");
	 */
	struct vmcb *vmcb = v->vmcb;
	struct vmcb_seg seg = { .sel = 0, .attr = 0x93, .limit = 0xFFFF };

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
	/* END SOLUTION */
}
