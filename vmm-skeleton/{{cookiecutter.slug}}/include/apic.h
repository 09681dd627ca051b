/* The local APIC of this CPU.  SDM chapter 10, APM chapter 16. */
#ifndef APIC_H
#define APIC_H

#include "types.h"

#define NO_APIC_ID 0xFFFFFFFF

/* Low half of the interrupt command register: SDM 10.6.1, APM 16.5 */
#define ICR_VECTOR_MASK	    0x000000FF
#define ICR_INIT	    0x00000500 /* delivery mode */
#define ICR_STARTUP	    0x00000600 /* delivery mode; "SIPI" */
#define ICR_DELIVERY_STATUS 0x00001000 /* still being sent */
#define ICR_ASSERT	    0x00004000 /* level */
#define ICR_ALL_BUT_SELF    0x000C0000 /* destination shorthand */

/* The id of the CPU that asks.  Needs no per-CPU data. */
u32 apic_id (void);

/* Waits until this CPU's previous IPI has been sent, then sends one.  With a
 * shorthand in low the destination is not looked at.  From initfunc "global4"
 * on. */
void apic_write_icr (u32 dest_apic_id, u32 low);

#endif
