/* The bring-up of the processors, as the BSP goes through it.  ap.h says who
 * guards what. */

#include "ap.h"
#include "cohort.h"
#include "multiboot.h"
#include "panic.h"
#include "printf.h"

void (*initproc_bsp) (void);
void (*initproc_ap) (void);
u32 apinit_addr;
spinlock_t *apinitlock;
volatile u32 *apinitprocs;
spinlock_t ap_lock;
volatile u32 num_of_processors;
bool ap_started;
spinlock_t sync_lock;
volatile u32 sync_id, sync_count;

/* The BSP jumps here from bsp_continue, on its own stack. */
asmlinkage void
bspinitproc1 (void)
{
	printf ("Processor 0 (BSP)\n");
	spinlock_init (&sync_lock); /* barrier: nobody waits */
	sync_id = 0;
	sync_count = 0;
	spinlock_init (&ap_lock); /* handshake: nobody has come */
	num_of_processors = 0;

	if (!uefi_booted) {
		apinit_addr = APINIT_ADDR; /* BIOS: low memory is ours */
		ap_start ();		   /* INIT, SIPI, wait for all */
	} else {
		/* UEFI: memory is the firmware's, and so are the APs until
		 * the guest starts them */
		apinit_addr = alloc_realmodemem (cpuinit_end - cpuinit_start +
						 15);
		while ((apinit_addr & 15) != (APINIT_OFFSET & 15))
			apinit_addr++;
		localapic_delayed_ap_start (ap_start);
	}

	initproc_bsp (); /* bsp_proc */
	panic ("bspinitproc1: initproc_bsp came back");
}
