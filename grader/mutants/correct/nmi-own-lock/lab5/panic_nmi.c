/* lab5: the handler has a lock of its own, which no other code takes, and parks. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "panic.h"
#include "pcpu.h"
#include "tracepoints.h"

static spinlock_t list_lock;
static u32 list[NUM_OF_PCPU]; /* APIC ids; guarded by list_lock */
static u32 length;

void
panic_wakeup_all (void)
{
	u32 i, id, self = apic_id ();

	if (!ap_started)
		return;
	if (!acpi_num_of_processors ()) {
		apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_NMI);
		return;
	}
	for (i = 0; i < acpi_num_of_processors (); i++) {
		id = acpi_apic_id (i);
		if (id != self)
			apic_write_icr (id, ICR_ASSERT | ICR_NMI);
	}
}

asmlinkage void
nmi_handler (void)
{
	spinlock_lock (&list_lock);
	if (length < NUM_OF_PCPU)
		list[length++] = apic_id ();
	spinlock_unlock (&list_lock);
	vmm_parked ();
}
