/* INIT and SIPI go to one CPU after the other, by its APIC id. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"

static void
send_to_the_others (u32 what)
{
	u32 i, me = apic_id (), n = acpi_num_of_processors ();

	if (!n)
		apic_write_icr (0, what | ICR_ALL_BUT_SELF);
	for (i = n; i > 0; i--)
		if (acpi_apic_id (i - 1) != me)
			apic_write_icr (acpi_apic_id (i - 1), what);
}

void
apic_send_init (void)
{
	send_to_the_others (ICR_ASSERT | ICR_INIT);
}

void
apic_send_startup_ipi (u8 vector)
{
	send_to_the_others (ICR_ASSERT + ICR_STARTUP + vector);
}

bool
ap_start_loopcond (void *data)
{
	int *sent = data;
	u32 others = acpi_num_of_processors () - 1;

	if (*sent < 3 && *apinitprocs != others) {
		*sent += 1;
		return true;
	}
	return false;
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	usleep (ap_delays.init_us);
	for (; loopcond (data); usleep (ap_delays.sipi_us))
		apic_send_startup_ipi (addr);
}

static void *
in_copy (volatile u8 *copy, u8 *label)
{
	return (void *)(copy + (label - cpuinit_start));
}

void
ap_start (void)
{
	volatile u8 *zero = mapmem_hphys (0, 5, MAPMEM_WRITE);
	volatile u8 *copy = mapmem_hphys (apinit_addr, cpuinit_end - cpuinit_start, MAPMEM_WRITE);
	u64 jump = 0xEA;
	u8 keep[5];
	u8 *p;
	int i, sent = 0;

	jump |= (u64)APINIT_OFFSET << 8;
	jump |= (u64)((apinit_addr - APINIT_OFFSET) / 16) << 24;
	for (i = 0; i < 5; i++) {
		keep[i] = zero[i];
		zero[i] = jump >> 8 * i;
	}
	for (p = cpuinit_start; p != cpuinit_end; p++)
		copy[p - cpuinit_start] = *p;
	apinitprocs = in_copy (copy, apinit_procs);
	apinitlock = in_copy (copy, apinit_lock);
	ap_start_addr (0, ap_start_loopcond, &sent);
	ap_wait ();
	for (i = 4; i >= 0; i--)
		zero[i] = keep[i];
	unmapmem ((void *)zero, 5);
	unmapmem ((void *)copy, cpuinit_end - cpuinit_start);
	ap_started = !ap_started;
}
