/* Waiting: by the ACPI PM timer, or by the PIT where there is none. */

#include "acpi.h"
#include "asm.h"
#include "sleep.h"

/* ACPI specification 4.8.3.3: the timer runs at 3.579545 MHz.  Times 2^20 and
 * per microsecond, so that no division is needed. */
#define PM_TICKS_SHIFT 20
#define PM_TICKS       3753425

/* 8254: 1.193182 MHz; channel 2 is gated and read through port 0x61. */
#define PIT_CHANNEL2   0x42
#define PIT_CONTROL    0x43
#define PIT_CH2_MODE0  0xB0 /* channel 2, low and high byte, mode 0 */
#define PIT_PORT	       0x61
#define PIT_PORT_GATE  0x01
#define PIT_PORT_SPEAKER 0x02
#define PIT_PORT_OUT   0x20
#define PIT_MAX_USEC   50000
#define PIT_TICKS_SHIFT 20
#define PIT_TICKS      1251142

static void
pm_timer_wait (u16 port, u32 mask, u32 usec)
{
	u64 ticks = ((u64)usec * PM_TICKS >> PM_TICKS_SHIFT) + 1;
	u64 passed = 0;
	u32 last = asm_inl (port), now;

	/* Looks often enough to see every wrap: after 4.6 s at 24 bits. */
	while (passed < ticks) {
		asm_pause ();
		now = asm_inl (port);
		passed += (now - last) & mask;
		last = now;
	}
}

/* Mode 0: the output rises when the count has run out. */
static void
pit_wait (u32 usec)
{
	u32 ticks = ((u64)usec * PIT_TICKS >> PIT_TICKS_SHIFT) + 1;
	u8 port = asm_inb (PIT_PORT);

	asm_outb (PIT_PORT, (port & ~PIT_PORT_SPEAKER) | PIT_PORT_GATE);
	asm_outb (PIT_CONTROL, PIT_CH2_MODE0);
	asm_outb (PIT_CHANNEL2, ticks);
	asm_outb (PIT_CHANNEL2, ticks >> 8);
	while (!(asm_inb (PIT_PORT) & PIT_PORT_OUT))
		asm_pause ();
	asm_outb (PIT_PORT, port);
}

noinline void
usleep (u32 usec)
{
	u16 port;
	u32 mask, part;

	if (acpi_pm_timer (&port, &mask)) {
		pm_timer_wait (port, mask, usec);
		return;
	}
	while (usec) {
		part = usec < PIT_MAX_USEC ? usec : PIT_MAX_USEC;
		pit_wait (part);
		usec -= part;
	}
}
