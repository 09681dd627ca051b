/* One IPI for each id from 0 to 254 but the own one, whatever the tables list. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"

#define IPI(mode) ((mode) | ICR_ASSERT)

/* One IPI for each id that an xAPIC can have; with wider ones in the tables, one for all. */
static void
others (u32 low)
{
	const u32 me = apic_id (), n = acpi_num_of_processors ();
	u32 i, id;

	for (i = 0; i < n; i++)
		if (acpi_apic_id (i) > 254) {
			apic_write_icr (0, low | ICR_ALL_BUT_SELF);
			return;
		}
	for (id = 0; id < 255; id++)
		if (id != me)
			apic_write_icr (id, low);
}

void
apic_send_init (void)
{
	others (IPI (ICR_INIT));
}

void
apic_send_startup_ipi (u8 vector)
{
	others (IPI (ICR_STARTUP) + vector);
}

static bool
all_here (void)
{
	u32 n = acpi_num_of_processors ();

	return n > 0 && *apinitprocs + 1 >= n;
}

bool
ap_start_loopcond (void *data)
{
	int *const sent = data;
	bool more = *sent < 3 && !all_here ();

	*sent += more;
	return more;
}

static void
nap (u32 us)
{
	while (us > 300) {
		usleep (300);
		us -= 300;
	}
	if (us)
		usleep (us);
}

void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	apic_send_init ();
	nap (ap_delays.init_us);
	for (;;) {
		if (!loopcond (data))
			return;
		apic_send_startup_ipi (addr);
		nap (ap_delays.sipi_us);
	}
}

struct farjmp {
	u8 opcode;
	u16 offset, segment;
} __attribute__ ((packed));

_Static_assert(sizeof (struct farjmp) == 5, "far jump");

static struct farjmp
exchange (volatile struct farjmp *place, struct farjmp with)
{
	struct farjmp was = { place->opcode, place->offset, place->segment };

	place->opcode = with.opcode;
	place->offset = with.offset;
	place->segment = with.segment;
	return was;
}

void
ap_start (void)
{
	struct farjmp *zero, was, jump = {
		.opcode = 0xEA,
		.offset = APINIT_OFFSET,
		.segment = (apinit_addr - APINIT_OFFSET) / 16,
	};
	ulong size = cpuinit_end - cpuinit_start, i;
	int sent = 0;
	u8 *copy;

	/* the copy first, into the mapped memory, byte by byte */
	zero = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, 0, sizeof *zero);
	was = exchange (zero, jump);
	copy = mapmem (MAPMEM_HPHYS | MAPMEM_WRITE, apinit_addr, size);
	for (i = size; i-- > 0;)
		((volatile u8 *)copy)[i] = cpuinit_start[i];
	apinitprocs = (u32 *)&copy[apinit_procs - cpuinit_start];
	apinitlock = &copy[apinit_lock - cpuinit_start];
	for (i = 0; i < 8; i++)
		apinitlock[i] = 0;
	*apinitprocs = 0;
	ap_start_addr (0, ap_start_loopcond, &sent);
	ap_wait ();
	exchange (zero, was);
	unmapmem (copy, size);
	unmapmem (zero, sizeof *zero);
	ap_started = true;
}
