/* One IPI for each processor; CPUID tells which one is this. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"
#include "asm.h"

static u32
my_id (void)
{
	u32 a, b, c, d;

	asm_cpuid (1, &a, &b, &c, &d);
	return b >> 24;
}

void
apic_send_init (void)
{
	u32 n = acpi_num_of_processors ();

	if (!n)
		apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_INIT);
	for (u32 i = 0; i < n; i++)
		if (acpi_apic_id (i) != my_id ())
			apic_write_icr (acpi_apic_id (i), ICR_ASSERT | ICR_INIT);
}

void
apic_send_startup_ipi (u8 vector)
{
	u32 n = acpi_num_of_processors ();

	if (!n)
		apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_STARTUP | vector);
	for (u32 i = 0; i < n; i++)
		if (acpi_apic_id (i) != my_id ())
			apic_write_icr (acpi_apic_id (i), ICR_ASSERT | ICR_STARTUP | vector);
}

bool
ap_start_loopcond (void *data)
{
	int *sent = data;

	/* If the tables list none, 0 - 1 is not equal to any number of APs. */
	if (*sent == 3 || *apinitprocs == acpi_num_of_processors () - 1)
		return false;
	++*sent;
	return true;
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

void
ap_start (void)
{
	u16 segment = (apinit_addr - APINIT_OFFSET) >> 4;
	u8 saved[5];
	u8 *jump;

	jump = mapmem_hphys (0, sizeof saved, MAPMEM_WRITE);
	memcpy (saved, jump, sizeof saved);
	jump[0] = 0xEA; /* ljmpw $segment, $APINIT_OFFSET */
	jump[1] = APINIT_OFFSET & 0xFF;
	jump[2] = APINIT_OFFSET >> 8;
	jump[3] = segment & 0xFF;
	jump[4] = segment >> 8;

	uint size = cpuinit_end - cpuinit_start;
	u8 *apinit;

	apinit = mapmem_hphys (apinit_addr, size, MAPMEM_WRITE);
	memcpy (apinit, cpuinit_start, size);
	apinitprocs = (volatile u32 *)(apinit + (apinit_procs - cpuinit_start));
	apinitlock = apinit + (apinit_lock - cpuinit_start);
	*apinitprocs = 0;
	spinlock_init (apinitlock);

	int sent = 0;

	ap_start_addr (0, ap_start_loopcond, &sent);

	ap_wait ();
	unmapmem (apinit, size);
	memcpy (jump, saved, sizeof saved);
	unmapmem (jump, sizeof saved);
	ap_started = true;
}
