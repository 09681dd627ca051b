/* Spinlocks.  XCHG with memory is atomic without a prefix (SDM 8.1.2.1).  The
 * "memory" clobbers keep the compiler from moving accesses out of the locked
 * region; the CPU keeps them in by itself (SDM 8.2.3.9: locked instructions
 * have a total order; 8.2.3.2: stores are not reordered with earlier loads
 * and stores). */

#include "spinlock.h"
#include "asm.h"

void
spinlock_init (spinlock_t *lock)
{
	spinlock_unlock (lock);
}

bool
spinlock_trylock (spinlock_t *lock)
{
	spinlock_t value = 1;

	asm volatile("xchgb %0, %1" : "+q"(value), "+m"(*lock) : : "memory");
	return !value;
}

void
spinlock_lock (spinlock_t *lock)
{
	while (!spinlock_trylock (lock))
		while (*(volatile spinlock_t *)lock)
			asm_pause ();
}

void
spinlock_unlock (spinlock_t *lock)
{
	asm volatile("movb $0, %0" : "=m"(*lock) : : "memory");
}
