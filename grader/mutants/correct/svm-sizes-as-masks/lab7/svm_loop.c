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

void
do_cpuid (struct vcpu *v)
{
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
}

void
do_vmmcall (struct vcpu *v)
{
	if ((u32)v->vmcb->rax == VMMCALL_CPUNUM)
		v->vmcb->rax = currentcpu->cpunum;
	else
		v->vmcb->rax = VMMCALL_UNKNOWN;
	v->vmcb->rip += 3;
}

void
do_ioio (struct vcpu *v)
{
	struct vmcb *vmcb = v->vmcb;
	u64 info = vmcb->exitinfo1;
	u16 port = info >> IOIO_PORT_SHIFT;

	if (info & IOIO_STR)
		panic ("string I/O at port 0x%x, RIP 0x%llx", port, vmcb->rip);
	uint size = info >> 4 & 7; /* in bytes */
	u64 mask = size == 4 ? ~0ULL : (1ULL << 8 * size) - 1;
	u64 value = 0;

	if (info & IOIO_IN) {
		if (size == 1)
			value = asm_inb (port);
		else if (size == 2)
			value = asm_inw (port);
		else
			value = asm_inl (port);
		vmcb->rax = (vmcb->rax & ~mask) | value;
	} else if (size == 1) {
		asm_outb (port, vmcb->rax);
	} else if (size == 2) {
		asm_outw (port, vmcb->rax);
	} else {
		asm_outl (port, vmcb->rax);
	}
	vmcb->rip = vmcb->exitinfo2;
}

void
svm_start_vm (struct vcpu *v)
{
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
}
