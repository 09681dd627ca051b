/* lab7: run the guest, and handle what it exits for. */

#include "asm.h"
#include "linkage.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "svm.h"
#include "todo.h"
#include "types.h"
#include "x86.h"

/* The guest has executed CPUID.
 *
 * On entry: this CPU's guest has exited with VMEXIT_CPUID; its RIP is at the
 * CPUID instruction, which is two bytes long.  Other CPUs may be in this
 * function at the same time.
 *
 * Must: give the guest what CPUID returns on this CPU for its EAX and ECX, in
 * RAX, RBX, RCX and RDX, whose upper halves become 0.  But SVM belongs to the
 * VMM: leaf CPUID_EXT does not show it, and all of leaf CPUID_SVM is 0.
 * Nothing else changes but RIP, which is at the next instruction. */
void
do_cpuid (struct vcpu *v)
{
	/* BEGIN SOLUTION lab7.6
	 * TODO(lab7.6):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab7.6");
	 */
	u32 leaf = v->vmcb->rax;
	u32 a, b, c, d;

	asm_cpuid_subleaf (leaf, v->regs.rcx, &a, &b, &c, &d);
	if (leaf == CPUID_EXT)
		c &= ~CPUID_EXT_ECX_SVM;
	if (leaf == CPUID_SVM)
		a = b = c = d = 0;
	v->vmcb->rax = a;
	v->regs.rbx = b;
	v->regs.rcx = c;
	v->regs.rdx = d;
	v->vmcb->rip += 2;
	/* END SOLUTION */
}

/* The guest has called the VMM.
 *
 * On entry: this CPU's guest has exited with VMEXIT_VMMCALL; its RIP is at the
 * VMMCALL instruction, which is three bytes long.  Other CPUs may be in this
 * function at the same time.
 *
 * Must: answer in RAX, as include/svm.h says; EAX has the number of the
 * question.  Nothing else changes but RIP, which is at the next instruction. */
void
do_vmmcall (struct vcpu *v)
{
	/* BEGIN SOLUTION lab7.7
	 * TODO(lab7.7):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab7.7");
	 */
	if ((u32)v->vmcb->rax == VMMCALL_CPUNUM)
		v->vmcb->rax = currentcpu->cpunum;
	else
		v->vmcb->rax = VMMCALL_UNKNOWN;
	v->vmcb->rip += 3;
	/* END SOLUTION */
}

/* The guest has accessed an I/O port.
 *
 * On entry: this CPU's guest has exited with VMEXIT_IOIO.  exitinfo1 and
 * exitinfo2 say what it did and where the next instruction is.  Other CPUs may
 * be in this function at the same time.
 *
 * Must: carry out IN or OUT for the guest, with the same port, size and value.
 * IN of 8 or 16 bits changes only these bits of RAX; IN of 32 bits clears the
 * upper half.  Nothing else changes but RIP.  Panic for INS and OUTS; the text
 * has the port, in hexadecimal. */
void
do_ioio (struct vcpu *v)
{
	/* BEGIN SOLUTION lab7.8
	 * TODO(lab7.8):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab7.8");
	 */
	struct vmcb *vmcb = v->vmcb;
	u64 info = vmcb->exitinfo1;
	u16 port = info >> IOIO_PORT_SHIFT;

	if (info & IOIO_STR)
		panic ("string I/O at port 0x%x, RIP 0x%llx", port, vmcb->rip);
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
	vmcb->rip = vmcb->exitinfo2;
	/* END SOLUTION */
}

/* Run the guest of this CPU for ever.
 *
 * On entry: each CPU, on its own stack, all at the same time, no lock held,
 * interrupts off.  *v is its virtual CPU, which svm_vminit and svm_reset have
 * prepared.
 *
 * Must: run the guest by asm_vmrun_regs_64, handle its exit, and so on, for
 * ever, on this stack.  A guest may have written 0 to EFER.SVME; it is 1 at
 * every VMRUN.  After VMEXIT_NMI there is nothing to do: the VMM's own handler
 * has run when GIF was set.  HLT waits: the guest continues after it only when
 * an interrupt has come, so let the processor execute it in the guest.  Panic
 * for any other exit; the text has the exit code, exitinfo1, exitinfo2 and the
 * guest's RIP, in hexadecimal. */
void
svm_start_vm (struct vcpu *v)
{
	/* BEGIN SOLUTION lab7.4
	 * TODO(lab7.4):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab7.4");
	 */
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
		case VMEXIT_NMI:
			break;
		default:
			panic ("guest exit 0x%llx, info 0x%llx 0x%llx, "
			       "CS:RIP 0x%x:0x%llx",
			       vmcb->exitcode, vmcb->exitinfo1, vmcb->exitinfo2,
			       vmcb->cs.sel, vmcb->rip);
		}
	}
	/* END SOLUTION */
}
