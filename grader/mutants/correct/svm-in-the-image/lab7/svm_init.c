/* lab7: the host save areas are in the image. */

#include "asm.h"
#include "mm.h"
#include "pcpu.h"
#include "svm.h"
#include "x86.h"

static u8 areas[16][PAGESIZE] __attribute__ ((aligned (PAGESIZE)));

void
svm_init (void)
{
	u64 physaddr = (ulong)areas[currentcpu->cpunum] - VMM_BASE;

	asm_wrmsr (MSR_VM_HSAVE_PA, physaddr);
	asm_wrmsr (MSR_EFER, asm_rdmsr (MSR_EFER) | EFER_SVME);
}
