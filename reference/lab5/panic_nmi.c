/* lab5: when one CPU panics, all others stop. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "panic.h"
#include "pcpu.h"
#include "todo.h"

/* Send an NMI to all other CPUs.
 *
 * On entry: the CPU that panics, which may be any CPU, at any time: interrupts
 * are off, and this CPU may hold any lock and may have no per-CPU data yet.
 * Its message has been printed.  panic calls this function once, on the first
 * CPU that panics.
 *
 * Must: if ap_started is true, send one NMI to each other CPU by
 * apic_write_icr: edge triggered, level assert, reserved bits 0; the vector is
 * ignored (SDM 10.6.1).  Either one shorthand for all of them, or one IPI for
 * each CPU that has been started: APIC ids may have gaps, and the ACPI tables
 * may list no CPU (acpi.h).  No CPU gets two, this CPU gets none.  If
 * ap_started is false, send nothing: the APIC may not be mapped, and APs may be
 * in code that has no IDT.  Take and release no lock that other code uses,
 * print nothing and do not wait for the other CPUs: one that never answers must
 * not stop this one.  Then return. */
void
panic_wakeup_all (void)
{
	/* BEGIN SOLUTION lab5.1
	 * TODO(lab5.1):
	 */
	if (!ap_started)
		return;
	apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
	/* END SOLUTION */
}

/* Stop this CPU, because another one has panicked.
 *
 * On entry: any CPU that has got an NMI.  nmi_entry (core/exception_stub.S)
 * calls this function between any two instructions of what the CPU was doing,
 * on the stack that it was using.  Interrupts are off, and no other NMI comes
 * before IRET.  Any lock may be held, by this CPU, too, and what the lock
 * guards may be half changed.  If this function returned, the CPU would go on
 * with what it was doing.
 *
 * Must: leave interrupts off, halt (HLT), and never return.  Take and release
 * no lock that other code uses, print nothing, do not panic, and wait for
 * nothing. */
asmlinkage void
nmi_handler (void)
{
	/* BEGIN SOLUTION lab5.2
	 * TODO(lab5.2):
	 */
	asm_halt_forever ();
	/* END SOLUTION */
}
