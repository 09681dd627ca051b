/* The bring-up of the processors: who calls what, and who guards what.
 *
 *   BSP                               each AP
 *   vmm_main                          (waits for INIT and SIPI)
 *   start_all_processors
 *   bsp_continue                      far jump at physical address 0
 *   bspinitproc1, on its own stack    trampoline: cpuinit_start
 *   ap_start: INIT, SIPI              ap_entry, apinit_enter: takes the lock
 *   ap_wait                           apinitproc0, on the shared boot stack
 *                                     apinitproc1, on its own stack
 *   bsp_proc                          ap_proc
 */
#ifndef AP_H
#define AP_H

#include "cohort.h"
#include "linkage.h"
#include "spinlock.h"
#include "types.h"

struct multiboot_info;

/* lab1 */
asmlinkage void vmm_main (struct multiboot_info *mi_arg);

/* lab2 */
noreturn void asm_wrrsp_and_jmp (ulong rsp, void *jmpto);
noreturn void bsp_continue (asmlinkage void (*initproc_arg) (void));
noreturn void start_all_processors (void (*bsp_initproc) (void),
				    void (*ap_initproc) (void));

/* lab3 */
extern u8 cpuinit_start[], cpuinit_end[]; /* the trampoline as linked */
extern u8 apinit_procs[], apinit_lock[];  /* inside it */
void apic_send_init (void);
void apic_send_startup_ipi (u8 vector);
bool ap_start_loopcond (void *data);
void ap_start_addr (u8 addr, bool (*loopcond) (void *data), void *data);
void ap_start (void);

/* lab4 */
asmlinkage noreturn void apinitproc0 (void);
asmlinkage noreturn void apinitproc1 (void);
void ap_wait (void);
void sync_all_processors (void);

/* core/main.c */
void bsp_proc (void);
void ap_proc (void);

/* core/bsp.c */
asmlinkage noreturn void bspinitproc1 (void);
extern void (*initproc_bsp) (void);
extern void (*initproc_ap) (void);

/* Physical address of the trampoline's copy.  The far jump at 0 leads to it
 * with IP = APINIT_OFFSET, so apinit_addr - APINIT_OFFSET is a multiple
 * of 16. */
extern u32 apinit_addr;

/* In the trampoline's copy, as mapped by ap_start: the lock of the shared boot
 * stack, and the number of APs that have entered the trampoline. */
extern spinlock_t *apinitlock;
extern volatile u32 *apinitprocs;

/* APs that have left the shared boot stack; not counting the BSP.  Guarded by
 * ap_lock. */
extern spinlock_t ap_lock;
extern volatile u32 num_of_processors;

/* All APs run, and the trampoline is gone. */
extern bool ap_started;

/* The barrier: its generation, and how many have come to this one.  Both are
 * written with sync_lock held. */
extern spinlock_t sync_lock;
extern volatile u32 sync_id, sync_count;

/* core/delays.c: how long to wait, in microseconds */
extern struct ap_delays {
	u32 init_us; /* after INIT, before the first SIPI */
	u32 sipi_us; /* after each SIPI */
	u32 poll_us; /* between two looks at who has come */
	u32 wait_us; /* in all, for the last one to come */
} ap_delays;

/* core/uefi.c */
u32 alloc_realmodemem (uint len);
void localapic_delayed_ap_start (void (*start) (void));

#endif
