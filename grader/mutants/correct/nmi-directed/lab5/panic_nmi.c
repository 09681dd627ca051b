/* lab5: one NMI for each CPU that has per-CPU data, by its APIC id. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "panic.h"
#include "pcpu.h"

void
panic_wakeup_all (void)
{
	u32 self = apic_id ();
	u32 id;

	if (!ap_started)
		return;
	for (id = 0; id < 255; id++)
		if (id != self && pcpu_of_apic_id (id))
			apic_write_icr (id, ICR_ASSERT | ICR_NMI);
}

asmlinkage void
nmi_handler (void)
{
	asm_halt_forever ();
}
