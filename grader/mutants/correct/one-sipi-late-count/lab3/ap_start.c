/* A single SIPI: the processors of this machine do not lose any.  ap_wait does the waiting. */

#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"

void
apic_send_init (void)
{
	apic_write_icr (0, 0xC4500);
}

void
apic_send_startup_ipi (u8 vector)
{
	apic_write_icr (0, 0xC4600 | vector);
}

bool
ap_start_loopcond (void *data)
{
	int *sent = data;

	return !(*sent)++;
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	usleep (ap_delays.init_us);
	while (loopcond (data)) {
		apic_send_startup_ipi (addr);
		usleep (ap_delays.sipi_us);
	}
}

/* Copies both ways between the VMM's memory and physical memory. */
static void
physical (void *buf, u64 physaddr, uint len, bool write)
{
	void *p = mapmem_hphys (physaddr, len, MAPMEM_WRITE);

	if (write)
		memcpy (p, buf, len);
	else
		memcpy (buf, p, len);
	unmapmem (p, len);
}

void
ap_start (void)
{
	u16 segment = (apinit_addr - APINIT_OFFSET) >> 4;
	u8 jump[5] = { 0xEA, APINIT_OFFSET & 255, APINIT_OFFSET / 256, segment & 255, segment / 256 };
	u8 saved[sizeof jump];
	uint size = cpuinit_end - cpuinit_start;
	u8 *copy = mapmem_hphys (apinit_addr, size, MAPMEM_WRITE);
	void *zero = mapmem_hphys (0, sizeof jump, MAPMEM_WRITE);
	int sent = 0;

	physical (saved, 0, sizeof saved, false);
	physical (jump, 0, sizeof jump, true);
	memcpy (copy, cpuinit_start, size);
	apinitprocs = (volatile u32 *)&copy[apinit_procs - cpuinit_start];
	apinitlock = (spinlock_t *)&copy[apinit_lock - cpuinit_start];
	*apinitprocs = 0;
	memset (apinitlock, 0, 8);
	ap_start_addr (0, ap_start_loopcond, &sent);
	ap_wait ();
	physical (saved, 0, sizeof saved, true);
	unmapmem (zero, sizeof jump);
	unmapmem (copy, size);
	ap_started = true;
}
