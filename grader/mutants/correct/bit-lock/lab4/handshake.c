#include "acpi.h"
#include "tracepoints.h"
#include "ap.h"
#include "cohort.h"
#include "mm.h"
#include "panic.h"
#include "pcpu.h"
#include "sleep.h"
static void*S;
static asmlinkage void go_on(void);
/* one AP after the other */
asmlinkage void apinitproc0(void){S=alloc(VMM_STACKSIZE);__asm__ __volatile__("":::"memory");asm_wrrsp_and_jmp((ulong)((char*)S+VMM_STACKSIZE),(void*)apinitproc1);}
asmlinkage void apinitproc1(void){go_on();panic("?");}
static void go_on(void){void*const mine=S;int no;
 __asm__ __volatile__("lock btrl $13,4(%0)"::"r"(apinitlock):"memory","cc");
 while(!spinlock_trylock(&ap_lock));
 num_of_processors++;no=(int)num_of_processors;
 spinlock_unlock(&ap_lock);segment_init_ap(no);
 get_currentcpu()->stackaddr=mine;(*initproc_ap)();}
void ap_wait(void){u32 t=0,want=acpi_num_of_processors(),have;
again:spinlock_lock(&ap_lock);have=num_of_processors;spinlock_unlock(&ap_lock);
 if((want==0||have==want-1)&&*apinitprocs==have)return;
 if(t>ap_delays.wait_us-ap_delays.poll_us)vmm_ap_missing(ap_first_missing());
 t+=ap_delays.poll_us;usleep(ap_delays.poll_us);goto again;}
