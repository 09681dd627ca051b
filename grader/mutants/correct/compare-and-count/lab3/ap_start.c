/* The far jump as a structure; after INIT a de-assert that modern processors ignore. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"

struct far_jump {
	u8 opcode;
	u16 offset, segment;
} __attribute__ ((packed));

enum { LEVEL_TRIGGERED = 1 << 15 };

static struct far_jump
exchange (struct far_jump *at_0, struct far_jump new)
{
	struct far_jump old = *at_0;

	*at_0 = new;
	return old;
}

void
apic_send_init (void)
{
	apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_INIT);
	apic_write_icr (0, ICR_ALL_BUT_SELF | LEVEL_TRIGGERED | ICR_INIT);
}

void
apic_send_startup_ipi (u8 vector)
{
	apic_write_icr (0xFF, ICR_ALL_BUT_SELF + ICR_ASSERT + ICR_STARTUP + vector);
}

bool
ap_start_loopcond (void *data)
{
	int *sent = data;
	u32 all = acpi_num_of_processors ();
	bool here = all && *apinitprocs + 1 >= all;

	if (here || *sent >= 3)
		return false;
	(*sent)++;
	return true;
}

static void
in_pieces (u32 us)
{
	u32 piece;

	for (; us; us -= piece) {
		piece = us > 1000 ? 1000 : us;
		usleep (piece);
	}
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	in_pieces (ap_delays.init_us);
	for (;;) {
		if (!loopcond (data))
			return;
		apic_send_startup_ipi (addr);
		in_pieces (ap_delays.sipi_us);
	}
}

void
ap_start (void)
{
	const struct far_jump jump = { 0xEA, APINIT_OFFSET, (apinit_addr - APINIT_OFFSET) / 16 };
	const uint size = (uint)(cpuinit_end - cpuinit_start);
	u8 *copy = mapmem (MAPMEM_WRITE | MAPMEM_HPHYS, apinit_addr, size);
	struct far_jump *at_0 = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, 0, PAGESIZE), before;
	int sent = 0;

	__builtin_memcpy (copy, cpuinit_start, size);
	apinitlock = copy + (apinit_lock - cpuinit_start);
	apinitprocs = (volatile u32 *)(copy + (apinit_procs - cpuinit_start));
	before = exchange (at_0, jump);
	ap_start_addr (0, ap_start_loopcond, &sent);
	ap_wait ();
	exchange (at_0, before);
	unmapmem (at_0, PAGESIZE);
	unmapmem (copy, size);
	ap_started = true;
}
