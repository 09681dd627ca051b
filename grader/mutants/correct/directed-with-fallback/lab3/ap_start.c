/* One IPI for each APIC id in the tables, and the shorthand if there are none.  Two SIPIs at most,
 * the delays in pieces of 50 microseconds, one mapping for all of low memory. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"

enum { LOW_MEMORY = 0xA0000, MOST = 2, PIECE = 50 };

static void
send_to_all_others (u32 what)
{
	u32 self = apic_id (), count = acpi_num_of_processors ();

	if (!count) {
		apic_write_icr (0, what | ICR_ALL_BUT_SELF);
		return;
	}
	while (count--)
		if (acpi_apic_id (count) != self)
			apic_write_icr (acpi_apic_id (count), what);
}

static void
pause_for (u32 microseconds)
{
	u32 done;

	for (done = 0; done < microseconds; done += PIECE)
		usleep (PIECE);
}

void
apic_send_init (void)
{
	send_to_all_others (ICR_ASSERT | ICR_INIT);
}

void
apic_send_startup_ipi (u8 vector)
{
	send_to_all_others (ICR_ASSERT | ICR_STARTUP | vector);
}

bool
ap_start_loopcond (void *data)
{
	u32 listed = acpi_num_of_processors ();
	int *sent = data;

	if (listed && *apinitprocs >= listed - 1)
		return false;
	return *sent < MOST ? (++*sent, true) : false;
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	pause_for (ap_delays.init_us);
	for (; loopcond (data); pause_for (ap_delays.sipi_us))
		apic_send_startup_ipi (addr);
}

void
ap_start (void)
{
	u8 *low = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, 0, LOW_MEMORY), *copy = low + apinit_addr, old[5];
	u16 words[2] = { APINIT_OFFSET, (apinit_addr - APINIT_OFFSET) / 16 };
	int sent = 0, i;

	for (i = 0; i < cpuinit_end - cpuinit_start; i++)
		copy[i] = cpuinit_start[i];
	apinitprocs = (volatile u32 *)(void *)(copy + (apinit_procs - cpuinit_start));
	memset ((void *)apinitprocs, 0, sizeof *apinitprocs);
	apinitlock = copy + (apinit_lock - cpuinit_start);
	memset (apinitlock, 0, 8);
	memcpy (old, low, sizeof old);
	memcpy (low + 1, words, sizeof words);
	low[0] = 0xEA;
	ap_start_addr (0, &ap_start_loopcond, &sent);
	ap_wait ();
	for (i = 4; i >= 0; i--)
		low[i] = old[i];
	unmapmem (low, LOW_MEMORY);
	ap_started = true;
}
