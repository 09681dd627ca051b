/* Tracepoints: functions at which a debugger sees how far a CPU has come. */
#ifndef TRACEPOINTS_H
#define TRACEPOINTS_H

#include "linkage.h"
#include "types.h"

/* This CPU has nothing more to do. */
noreturn void vmm_parked (void);

/* This CPU has passed the barrier; round counts from 1. */
void vmm_synced (u32 round);

/* The processor with this APIC id did not arrive in time; NO_APIC_ID if it is
 * not known which one. */
noreturn void vmm_ap_missing (u32 apic_id);

/* This CPU is about to enter its guest for the first time; vmcb is the physical
 * address of the VMCB. */
void vmm_guest_starts (ulong vmcb);

#endif
