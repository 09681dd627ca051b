/* Places by which one can tell from outside how far a CPU has come. */

#include "anchors.h"
#include "apic.h"
#include "asm.h"
#include "panic.h"

noinline void
vmm_parked (void)
{
	asm_halt_forever ();
}

noinline void
vmm_synced (u32 round)
{
	asm volatile ("" : : "r" (round) : "memory");
}

noinline void
vmm_ap_missing (u32 apic_id)
{
	if (apic_id == NO_APIC_ID)
		panic ("a processor did not come up in time");
	panic ("the processor with APIC id %u did not come up in time",
	       apic_id);
}
