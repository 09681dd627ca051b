/* A word of the copy for each AP, a short delay, and the two words in another order. */

#include "cohort.h"
#include "layout.h"
#include "todo.h"
#include "x86.h"
	.text
	.balign 16
	.globl cpuinit_start
cpuinit_start:
	.code16
	cli
#define CS_OFFSET(label)   label - cpuinit_start + APINIT_OFFSET
#define COPY_OFFSET(label) label - cpuinit_start
	mov     $1, %esi
	lock xaddl %esi, %cs:CS_OFFSET (apinit_procs)
	and     $63, %esi
	xor     %ebx, %ebx
	mov     %cs, %bx
	shl     $4, %ebx
	add     $APINIT_OFFSET, %ebx
	lea     COPY_OFFSET (gdt)(%ebx), %eax
	mov     %eax, %cs:CS_OFFSET (gdtr_base)
	lea     COPY_OFFSET (cpuinit32)(%ebx), %eax
	mov     %eax, %cs:CS_OFFSET (far32)
	mov     %cs, %ax
	mov     %ax, %ds
	mov     %esi, %edi
	shl     $2, %edi
	add     $CS_OFFSET (slots), %edi
	mov     %esi, (%di)
	lgdtl   %cs:CS_OFFSET (gdtr)
	mov     %cr0, %eax
	or      $CR0_PE, %eax
	mov     %eax, %cr0
	ljmpl   *%cs:CS_OFFSET (far32)

	.code32
cpuinit32:
	mov     $SEL_DATA, %eax
	mov     %eax, %ds
	mov     %eax, %es
	mov     %eax, %ss
	lea     COPY_OFFSET (cpuinit64)(%ebx), %eax
	mov     %eax, COPY_OFFSET (far64)(%ebx)

	sgdt    COPY_OFFSET (room)(%ebx)
	mov     COPY_OFFSET (slots)(%ebx,%esi,4), %eax
	cmp     %esi, %eax
	je      1f
	ud2
1:      mov     %cr4, %eax
	or      $CR4_PAE, %eax
	mov     %eax, %cr4
	mov     $ap_pagetable - VMM_BASE, %eax
	mov     %eax, %cr3
	mov     $MSR_EFER, %ecx
	rdmsr
	or      $EFER_LME | 0x801, %eax
	wrmsr
	mov     $CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE, %eax
	mov     %eax, %cr0
	ljmpl   *COPY_OFFSET (far64)(%ebx)

	.code64
cpuinit64:
	mov     $100, %ecx
2:      pause
	dec     %ecx
	jnz     2b
	mov     $ap_entry, %eax
	jmp     *%rax

	.balign 8
gdt:
	.quad   0
	.quad   DESC_CODE32
	.quad   DESC_DATA
	.quad   DESC_CODE64
gdtr:
	.word   gdtr - gdt - 1
gdtr_base:
	.long   0
	.balign 4
slots:  .skip   256
room:   .skip   8
	.balign 4
far32:
	.long   0
	.word   SEL_CODE
	.balign 4
far64:
	.long 0
	.word 0x18
	.balign 8
	.globl apinit_lock
apinit_lock:
	.quad 0
	.globl apinit_procs
apinit_procs:
	.long 0
	.long 0
	.globl cpuinit_end
cpuinit_end:
	.section .note.GNU-stack, "", @progbits
