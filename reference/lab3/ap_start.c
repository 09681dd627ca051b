/* lab3: the BSP wakes the APs.  SDM 8.4.4.1 describes the sequence; the APM
 * leaves it to 16.5 and 14.1.  How long to wait: ap_delays. */

#include "acpi.h"
#include "ap.h"
#include "apic.h"
#include "cohort.h"
#include "mm.h"
#include "sleep.h"
#include "string.h"
#include "todo.h"

/* Sends INIT to all CPUs but this one.
 *
 * On entry: the BSP, no lock held, interrupts off.
 *
 * Must: have one INIT IPI sent (edge triggered, level assert: SDM 10.6.1).
 * Every other CPU then waits for a SIPI; what it did before is lost. */
void
apic_send_init (void)
{
	/* BEGIN SOLUTION lab3.3
	 * TODO(lab3.3): send INIT to all CPUs but this one.
	 */
	apic_write_icr (0, ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_INIT);
	/* END SOLUTION */
}

/* Sends a startup IPI with this vector to all CPUs but this one.
 *
 * On entry: the BSP, no lock held, interrupts off; INIT has been sent.
 *
 * Must: have one SIPI sent.  A CPU that waits for it begins in real mode at
 * CS:IP = vector << 8 : 0, that is at physical address vector << 12; any other
 * ignores it (SDM 8.4.3). */
void
apic_send_startup_ipi (u8 vector)
{
	/* BEGIN SOLUTION lab3.4
	 * TODO(lab3.4): send a SIPI to all CPUs but this one.
	 * STARTER: (void)vector;
	 * STARTER: vmm_todo ("lab3.4");
	 */
	apic_write_icr (0,
			ICR_ALL_BUT_SELF | ICR_ASSERT | ICR_STARTUP | vector);
	/* END SOLUTION */
}

/* Is another SIPI needed?  data points to an int: how many have been sent.
 *
 * On entry: the BSP, no lock held; apinitprocs is set.  Called before each
 * SIPI.
 *
 * Must: return false once three have been sent, or as soon as all other
 * processors of the ACPI tables are in the trampoline.  The tables may say
 * nothing (acpi.h): then it is always three.  Otherwise add one to the number
 * and return true. */
bool
ap_start_loopcond (void *data)
{
	/* BEGIN SOLUTION lab3.4
	 * TODO(lab3.4): count to three; end early if everyone has come.
	 * STARTER: (void)data;
	 * STARTER: vmm_todo ("lab3.4");
	 */
	int *sent = data;

	/* 0, unknown, minus 1 is no number of processors */
	if (*sent == 3 || *apinitprocs == acpi_num_of_processors () - 1)
		return false;
	++*sent;
	return true;
}

/* Starts all other CPUs at physical address addr << 12: INIT, then SIPIs for
 * as long as loopcond (data) says true.
 *
 * On entry: the BSP, no lock held, interrupts off; code for real mode is in
 * place at that address.
 *
 * Must: send INIT and wait ap_delays.init_us; then, for each SIPI, ask
 * loopcond, send it and wait ap_delays.sipi_us. */
void
ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data)
{
	/* BEGIN SOLUTION lab3.3
	 * TODO(lab3.3): send INIT and wait.
	 */
	apic_send_init ();
	usleep (ap_delays.init_us);
	/* END SOLUTION */

	/* BEGIN SOLUTION lab3.4
	 * TODO(lab3.4): send SIPIs, and wait after each.
	 * STARTER: (void)addr;
	 * STARTER: (void)loopcond;
	 * STARTER: (void)data;
	 * STARTER: vmm_todo ("lab3.4");
	 */
	while (loopcond (data)) {
		apic_send_startup_ipi (addr);
		usleep (ap_delays.sipi_us);
	}
	/* END SOLUTION */
}

/* Starts all APs, and comes back when each runs on its own stack.
 *
 * On entry: the BSP, on its own stack, no lock held, interrupts off.
 * apinit_addr is set.  Physical memory is reached by mapmem only.  Address 0
 * is in use: it is the first vector of the real-mode interrupt table.
 *
 * Must: put a far jump to the trampoline at physical address 0 (a SIPI names a
 * page, and the trampoline need not begin at one): opcode 0xEA, offset
 * APINIT_OFFSET, segment (apinit_addr - APINIT_OFFSET) >> 4, 16 bits each.
 * Copy the trampoline to apinit_addr and let apinitprocs and apinitlock point
 * to apinit_procs and apinit_lock in that copy, both zero.  Start the APs with
 * vector 0.  Call ap_wait while all of it is still there, and mapped.  Then the
 * 5 bytes at 0 are again what they were, nothing is left mapped, and
 * ap_started is true. */
void
ap_start (void)
{
	/* BEGIN SOLUTION lab3.1
	 * TODO(lab3.1): map the 5 bytes at physical address 0 for writing,
	 * save them, write the far jump.
	 */
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
	/* END SOLUTION */

	/* BEGIN SOLUTION lab3.2
	 * TODO(lab3.2): map apinit_addr for writing, copy the trampoline
	 * there, set apinitprocs and apinitlock.
	 */
	uint size = cpuinit_end - cpuinit_start;
	u8 *apinit;

	apinit = mapmem_hphys (apinit_addr, size, MAPMEM_WRITE);
	memcpy (apinit, cpuinit_start, size);
	apinitprocs = (volatile u32 *)(apinit + (apinit_procs - cpuinit_start));
	apinitlock = apinit + (apinit_lock - cpuinit_start);
	*apinitprocs = 0;
	spinlock_init (apinitlock);
	/* END SOLUTION */

	int sent = 0;

	ap_start_addr (0, ap_start_loopcond, &sent);

	/* BEGIN SOLUTION lab3.7
	 * TODO(lab3.7): wait for the APs, put everything back, unmap, set
	 * ap_started.
	 */
	ap_wait ();
	unmapmem (apinit, size);
	memcpy (jump, saved, sizeof saved);
	unmapmem (jump, sizeof saved);
	ap_started = true;
	/* END SOLUTION */
}
