/* ap_start fills in the addresses that the trampoline needs.  Two SIPIs if nobody comes early,
 * the delays in small pieces. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"

extern u8 patch_in32[], patch_in64[], patch_gdt[]; /* apinit.S */

struct far_jump {
	u8 opcode;
	u16 offset, segment;
} __attribute__ ((packed));

static void
wait_for (u32 microseconds)
{
	const u32 piece = 1000;

	while (microseconds > piece) {
		usleep (piece);
		microseconds -= piece;
	}
	usleep (microseconds);
}

void
apic_send_init (void)
{
	apic_write_icr (0, ICR_INIT | ICR_ALL_BUT_SELF | ICR_ASSERT);
}

void
apic_send_startup_ipi (u8 vector)
{
	u32 low = vector;

	low |= ICR_STARTUP;
	low |= ICR_ALL_BUT_SELF;
	low |= ICR_ASSERT;
	apic_write_icr (NO_APIC_ID, low);
}

bool
ap_start_loopcond (void *data)
{
	int *n = data;
	u32 all = acpi_num_of_processors ();

	if (all != 0 && *apinitprocs + 1 == all)
		return false;
	return (*n)++ < 2;
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	wait_for (ap_delays.init_us);
	for (;;) {
		if (!loopcond (data))
			break;
		apic_send_startup_ipi (addr);
		wait_for (ap_delays.sipi_us);
	}
}

void
ap_start (void)
{
	static const struct {
		u8 *what;
	} patches[] = { { patch_in32 }, { patch_in64 }, { patch_gdt } };
	struct far_jump old, new, *at_0;
	ulong size = (ulong)cpuinit_end - (ulong)cpuinit_start;
	u8 *copy;
	u32 value;
	uint i;
	int n = 0;

	/* the trampoline first, the jump last */
	copy = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE | MAPMEM_PCD, apinit_addr, size);
	memcpy (copy, cpuinit_start, size);
	for (i = 0; i < NUM_OF (patches); i++) {
		u8 *where = copy + (patches[i].what - cpuinit_start);

		memcpy (&value, where, sizeof value);
		value += apinit_addr;
		memcpy (where, &value, sizeof value);
	}
	apinitlock = copy + (apinit_lock - cpuinit_start);
	apinitprocs = (void *)(copy + (apinit_procs - cpuinit_start));

	at_0 = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, 0, sizeof *at_0);
	old = *at_0;
	new.opcode = 0xEA;
	new.offset = APINIT_OFFSET;
	new.segment = (apinit_addr - APINIT_OFFSET) >> 4;
	*at_0 = new;

	ap_start_addr (0, ap_start_loopcond, &n);
	ap_wait ();

	*at_0 = old;
	unmapmem (at_0, sizeof *at_0);
	unmapmem (copy, size);
	ap_started = true;
}
