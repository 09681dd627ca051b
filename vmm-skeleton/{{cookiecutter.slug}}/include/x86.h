/* Names of bits and registers as in the manuals.  For C and assembly.
 *
 * In all comments of the VMM, SDM is the Intel 64 and IA-32 Architectures
 * Software Developer's Manual, volume 3A (325384-075US of June 2021; later
 * editions have moved chapters), APM the AMD64 Architecture Programmer's
 * Manual, volume 2 (24593). */
#ifndef X86_H
#define X86_H

/* Control registers: SDM 2.5, APM 3.1 */
#define CR0_PE 0x00000001 /* protection enable */
#define CR0_ET 0x00000010 /* always 1 */
#define CR0_NE 0x00000020 /* numeric error */
#define CR0_WP 0x00010000 /* write protect, also for ring 0 */
#define CR0_NW 0x20000000 /* not write-through */
#define CR0_CD 0x40000000 /* cache disable */
#define CR0_PG 0x80000000 /* paging */

#define CR4_PAE 0x00000020 /* physical address extension */

/* Model-specific registers: SDM volume 4, APM appendix A */
#define MSR_APIC_BASE 0x0000001B
#define MSR_EFER      0xC0000080
#define MSR_GS_BASE   0xC0000101

#define EFER_LME 0x00000100 /* long mode enable */

#define APIC_BASE_ENABLE 0x00000800 /* SDM 10.4.4: APIC global enable */

/* Page table entries of PAE and 4-level paging: SDM 4.4 and 4.5, APM 5.2
 * and 5.3.  A PDPTE of PAE paging must have PTE_RW clear. */
#define PTE_P	0x001 /* present */
#define PTE_RW	0x002 /* writable */
#define PTE_PWT 0x008 /* write-through */
#define PTE_PCD 0x010 /* cache disable */
#define PDE_PS	0x080 /* page size: 2 MiB */

#ifdef __x86_64__
#define PDPTE_FLAGS (PTE_P | PTE_RW)
#else
#define PDPTE_FLAGS PTE_P
#endif

/* Segment descriptors, base 0, limit 4 GiB: SDM 3.4.5, APM 4.8 */
#define DESC_CODE32 0x00CF9B000000FFFF
#define DESC_CODE64 0x00AF9B000000FFFF
#define DESC_DATA   0x00CF93000000FFFF

/* Selectors in the GDT of each CPU, see struct pcpu */
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_PCPU 0x18 /* i386: GS */

/* 16550 on COM1 */
#define COM1	      0x3F8
#define COM1_LSR      0x3FD
#define COM1_LSR_THRE 0x20 /* transmit holding register empty */

#endif
