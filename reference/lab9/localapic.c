/* lab9: the processors of the guest, which INIT and SIPI start. */

#include "ap.h"
#include "apic.h"
#include "asm.h"
#include "pcpu.h"
#include "svm.h"
#include "todo.h"
#include "types.h"

#define XAPIC_DEST_SHIFT 24

/* Return when the virtual CPU of this CPU may run its guest.
 *
 * On entry: the CPU whose virtual CPU it is, before each VMRUN, no lock held,
 * GIF is 1.  At first v->startup is VCPU_RUNS on the BSP, and VCPU_WAITS on
 * each AP.  Other CPUs may call localapic_signal_init and
 * localapic_signal_sipi for *v at any time, and may be in this function at the
 * same time.
 *
 * Must: if *v has to wait for a SIPI, or has got one that it has not obeyed,
 * call localapic_wait_for_sipi with GIF = 1, and look again.  Otherwise return
 * with GIF = 0: an NMI that comes now waits, and makes the guest exit at once.
 * What was found while GIF was 1 does not count: an INIT that comes after the
 * look, and whose NMI comes before GIF is 0, would be lost. */
void
localapic_enter (struct vcpu *v)
{
	/* BEGIN SOLUTION lab9.1
	 * TODO(lab9.1):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab9.1");
	 */
	for (;;) {
		asm_clgi ();
		if (v->startup == VCPU_RUNS)
			return;
		asm_stgi (); /* the NMI of that INIT comes here */
		localapic_wait_for_sipi (v);
	}
	/* END SOLUTION */
}

/* Wait for a SIPI, and let the guest begin where it says.
 *
 * On entry: localapic_enter, on the CPU whose virtual CPU it is.  GIF is 1, no
 * lock is held.  Other CPUs may be in this function at the same time.
 *
 * Must: wait, without HLT, until a SIPI has come, perhaps before this call.
 * Then let the guest begin in real mode at vector * 0x1000, by svm_reset with
 * cs = vector * 0x100 and ip = 0.  From then on *v does not wait any more.  But
 * an INIT that comes meanwhile is not forgotten: *v waits again. */
void
localapic_wait_for_sipi (struct vcpu *v)
{
	/* BEGIN SOLUTION lab9.2
	 * TODO(lab9.2):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab9.2");
	 */
	u32 vector;

	while ((vector = v->startup) >= VCPU_WAITS)
		asm_pause ();
	/* Not if an INIT has come in between. */
	if (__sync_bool_compare_and_swap (&v->startup, vector, VCPU_RUNS))
		svm_reset (v, vector << 8, 0);
	/* END SOLUTION */
}

/* The guest has written to a register of its local APIC.
 *
 * On entry: the CPU whose guest it is, outside of its guest; GIF is 1, no lock
 * is held.  The guest wrote value to the register at this offset in the page of
 * its APIC.  Nothing has reached the APIC yet, and the guest's RIP is at the
 * next instruction.  Other CPUs may be in this function at the same time.
 *
 * Must: ask localapic_icr about a write to APIC_ICR_LOW, which sends an IPI.
 * Its destination is in bits 31-24 of APIC_ICR_HIGH, where XAPIC_ALL means all;
 * for localapic_icr that is NO_APIC_ID.  What localapic_icr does not take, and
 * every write to another register, is repeated by apic_write, once, with the
 * same value. */
void
localapic_write (struct vcpu *v, uint offset, u32 value)
{
	/* BEGIN SOLUTION lab9.3
	 * TODO(lab9.3):
	 * STARTER: (void)v;
	 * STARTER: (void)offset;
	 * STARTER: (void)value;
	 * STARTER: vmm_todo ("lab9.3");
	 */
	u32 dest;

	if (offset == APIC_ICR_LOW) {
		dest = apic_read (APIC_ICR_HIGH) >> XAPIC_DEST_SHIFT;
		if (dest == XAPIC_ALL)
			dest = NO_APIC_ID;
		if (localapic_icr (v, value, dest))
			return;
	}
	apic_write (offset, value);
	/* END SOLUTION */
}

/* The guest sends an IPI: take it if it is INIT or SIPI.
 *
 * On entry: the CPU of sender, whose guest it is, outside of its guest; GIF is
 * 1, no lock is held.  low is the low half of the ICR, dest the destination:
 * an APIC id, or NO_APIC_ID for all.  Other CPUs may be in this function at the
 * same time.
 *
 * Must: return false unless the delivery mode is INIT or SIPI.  Otherwise
 * return true, and let nothing of it reach the hardware, where it would hit the
 * VMM itself.  INIT level de-assert, which is INIT with ICR_LEVEL and without
 * ICR_ASSERT, does nothing.  In every other case call handle_ap_start once, and
 * first: it may start processors, and so make virtual CPUs.  Then call
 * localapic_signal_init or localapic_signal_sipi for each virtual CPU that
 * localapic_is_destination says is meant; there may be none. */
bool
localapic_icr (struct vcpu *sender, u32 low, u32 dest)
{
	/* BEGIN SOLUTION lab9.4
	 * TODO(lab9.4):
	 * STARTER: (void)sender;
	 * STARTER: (void)low;
	 * STARTER: (void)dest;
	 * STARTER: vmm_todo ("lab9.4");
	 */
	u32 mode = low & ICR_MODE_MASK;
	u32 i;

	if (mode != ICR_INIT && mode != ICR_STARTUP)
		return false;
	if (mode == ICR_INIT && (low & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
		return true;
	handle_ap_start ();
	for (i = 0; i <= num_of_processors; i++) {
		if (!localapic_is_destination (vcpus[i], sender, low, dest))
			continue;
		if (mode == ICR_INIT)
			localapic_signal_init (vcpus[i]);
		else
			localapic_signal_sipi (vcpus[i], low & ICR_VECTOR_MASK);
	}
	return true;
	/* END SOLUTION */
}

/* Say whether an IPI of the guest is for this virtual CPU.
 *
 * On entry: any CPU, several at the same time.  low and dest are those of
 * localapic_icr.
 *
 * Must: a shorthand in low decides alone: sender itself, all with it, all but
 * it.  Without a shorthand dest is the APIC id of the one that is meant, or
 * NO_APIC_ID for all.  If the destination mode is logical, then without a
 * shorthand nobody is meant: a CPU that waits has no logical id.  Change
 * nothing. */
bool
localapic_is_destination (struct vcpu *v, struct vcpu *sender, u32 low,
			  u32 dest)
{
	/* BEGIN SOLUTION lab9.5
	 * TODO(lab9.5):
	 * STARTER: (void)v;
	 * STARTER: (void)sender;
	 * STARTER: (void)low;
	 * STARTER: (void)dest;
	 * STARTER: vmm_todo ("lab9.5");
	 */
	switch (low & ICR_SHORTHAND_MASK) {
	case ICR_SELF:
		return v == sender;
	case ICR_ALL:
		return true;
	case ICR_ALL_BUT_SELF:
		return v != sender;
	}
	if (low & ICR_LOGICAL)
		return false;
	return dest == NO_APIC_ID || dest == v->apic_id;
	/* END SOLUTION */
}

/* Let an INIT come to a virtual CPU.
 *
 * On entry: any CPU, outside of its guest; several may signal *v, or another
 * virtual CPU, at the same time.  GIF is 1, no lock is held.
 *
 * Must: let *v wait for a SIPI from now on, whatever it does, this CPU's own
 * too; a SIPI that came before does not count.  If its CPU may be in the
 * guest, bring it out by an NMI: apic_write_icr to v->apic_id with ICR_ASSERT
 * | ICR_NMI.  What that CPU looks for after the exit is there before the NMI
 * is sent.  No CPU needs an NMI from itself.  On return APIC_ICR_HIGH is what
 * the guest of this CPU has written there.  Do not wait for another CPU: two
 * virtual CPUs may send INIT to each other at the same time. */
void
localapic_signal_init (struct vcpu *v)
{
	/* BEGIN SOLUTION lab9.6
	 * TODO(lab9.6):
	 * STARTER: (void)v;
	 * STARTER: vmm_todo ("lab9.6");
	 */
	u32 high;

	if (__sync_lock_test_and_set (&v->startup, VCPU_WAITS) != VCPU_RUNS ||
	    v->apic_id == currentcpu->apic_id)
		return;
	high = apic_read (APIC_ICR_HIGH);
	apic_write_icr (v->apic_id, ICR_ASSERT | ICR_NMI);
	apic_write (APIC_ICR_HIGH, high);
	/* END SOLUTION */
}

/* Let a SIPI come to a virtual CPU.
 *
 * On entry: any CPU, outside of its guest; several may signal *v, or another
 * virtual CPU, at the same time.  GIF is 1, no lock is held.
 *
 * Must: if *v has to wait for a SIPI, perhaps still in its guest, let
 * localapic_wait_for_sipi find this vector.  Otherwise change nothing: a SIPI
 * to a virtual CPU that runs, or that has got one since its INIT, is lost. */
void
localapic_signal_sipi (struct vcpu *v, u8 vector)
{
	/* BEGIN SOLUTION lab9.7
	 * TODO(lab9.7):
	 * STARTER: (void)v;
	 * STARTER: (void)vector;
	 * STARTER: vmm_todo ("lab9.7");
	 */
	__sync_bool_compare_and_swap (&v->startup, VCPU_WAITS, vector);
	/* END SOLUTION */
}

/* The guest has written to the ICR of an APIC in x2APIC mode, which is MSR
 * 0x830.
 *
 * On entry: as for localapic_write.  All of the ICR comes in one write: the
 * destination, 32 bits wide and NO_APIC_ID for all, is in the upper half.
 *
 * Must: ask localapic_icr.  What it does not take is sent by apic_write_icr,
 * once, to the same destination. */
void
localapic_x2apic_icr (struct vcpu *v, u64 value)
{
	/* BEGIN SOLUTION lab9.8
	 * TODO(lab9.8):
	 * STARTER: (void)v;
	 * STARTER: (void)value;
	 * STARTER: vmm_todo ("lab9.8");
	 */
	u32 low = value;
	u32 dest = value >> 32;

	if (!localapic_icr (v, low, dest))
		apic_write_icr (dest, low);
	/* END SOLUTION */
}
