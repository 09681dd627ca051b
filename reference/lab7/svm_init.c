/* lab7: SVM on each CPU. */

#include "asm.h"
#include "mm.h"
#include "svm.h"
#include "todo.h"
#include "x86.h"

/* Enable SVM on this CPU, and give it a host save area.
 *
 * On entry: each CPU calls it once, several at the same time, no lock held.
 * The CPU has SVM, and the firmware has not disabled it.
 *
 * Must: set EFER.SVME and change no other bit of EFER.  Allocate a page for
 * this CPU alone, and write its physical address to MSR VM_HSAVE_PA (APM
 * 15.30.4): VMRUN stores the state of the VMM there, and #VMEXIT loads it
 * again.  The format is the processor's own, so nothing else may use the
 * page. */
void
svm_init (void)
{
	/* BEGIN SOLUTION lab7.1
	 * TODO(lab7.1):
	 * STARTER: vmm_todo ("lab7.1");
	 */
	void *hsave = alloc (PAGESIZE);

	asm_wrmsr (MSR_EFER, asm_rdmsr (MSR_EFER) | EFER_SVME);
	asm_wrmsr (MSR_VM_HSAVE_PA, (ulong)hsave - VMM_BASE);
	/* END SOLUTION */
}
