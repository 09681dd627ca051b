/* lab5: gives the others a moment to stop, but does not wait for ever. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "panic.h"
#include "pcpu.h"

#define TURNS 100

static volatile u32 running;

void
panic_wakeup_all (void)
{
	int i;

	if (!ap_started)
		return;
	running = num_of_processors;
	apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
	for (i = 0; i < TURNS && running; i++)
		asm_pause ();
}

asmlinkage void
nmi_handler (void)
{
	__sync_fetch_and_sub (&running, 1);
	asm_halt_forever ();
}
