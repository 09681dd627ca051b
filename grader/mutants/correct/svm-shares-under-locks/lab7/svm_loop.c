/* lab7: run the guest, and handle what it exits for. */

#include "asm.h"
#include "linkage.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "spinlock.h"
#include "svm.h"
#include "todo.h"
#include "types.h"
#include "x86.h"

static spinlock_t lock; /* guards info and port */
static u64 info;
static u16 port;
static u64 last_exit; /* for a debugger; nothing depends on it */

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

	spinlock_lock (&lock);
	info = vmcb->exitinfo1;
	port = info >> IOIO_PORT_SHIFT;
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
	spinlock_unlock (&lock);
}

void
svm_start_vm (struct vcpu *v)
{
	struct vmcb *vmcb = v->vmcb;

	for (;;) {
		vmcb->efer |= EFER_SVME;
		asm_vmrun_regs_64 (&v->regs, (ulong)vmcb - VMM_BASE,
				   (ulong)v->vmcbhost - VMM_BASE);
		last_exit = vmcb->exitcode;
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
