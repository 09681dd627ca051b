/* Low memory is as it was when ap_start returns, the place of the copy, too.
 * The functions that send also wait. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"

static u8 saved_copy[1024], saved_jump[5];

void
apic_send_init (void)
{
	u32 low = ICR_ALL_BUT_SELF | ICR_INIT;

	apic_write_icr (0, low | ICR_ASSERT);
	usleep (ap_delays.init_us);
	apic_write_icr (0, ICR_ALL | ICR_LEVEL | ICR_INIT); /* de-assert */
}

void
apic_send_startup_ipi (u8 vector)
{
	apic_write_icr (0,
			ICR_ALL_BUT_SELF | ICR_STARTUP | ICR_ASSERT | vector);
	usleep (ap_delays.sipi_us);
}

bool
ap_start_loopcond (void *data)
{
	if (acpi_num_of_processors () == *apinitprocs + 1)
		return false;
	return (*(int *)data)++ < 3;
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	while (loopcond (data))
		apic_send_startup_ipi (addr);
}

void
ap_start (void)
{
	uint size = cpuinit_end - cpuinit_start;
	u64 code = 0xEAULL | (u64)APINIT_OFFSET << 8 |
		   (u64)((apinit_addr - APINIT_OFFSET) >> 4) << 24;
	u8 *copy = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, apinit_addr, size);
	u8 *jump = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, 0, 5);
	int sent = 0;

	memcpy (saved_copy, copy, size);
	memcpy (saved_jump, jump, 5);
	for (uint i = 0; i < size; i++)
		copy[i] = cpuinit_start[i];
	apinitprocs = (volatile u32 *)&copy[apinit_procs - cpuinit_start];
	apinitlock = &copy[apinit_lock - cpuinit_start];
	memset (apinitlock, 0, 8);
	*apinitprocs = 0;
	memcpy (jump, &code, 5);
	ap_start_addr (0, ap_start_loopcond, &sent);
	ap_wait ();
	memcpy (copy, saved_copy, size);
	memcpy (jump, saved_jump, 5);
	unmapmem (jump, 5);
	unmapmem (copy, size);
	ap_started = true;
}
