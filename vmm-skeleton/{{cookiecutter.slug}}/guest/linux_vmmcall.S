/* A program for Linux, /vmmcall in the initial file system of `vmmlab linux`: a
 * question to the VMM, below which Linux runs.  Without an argument it asks for
 * the number of this CPU, with any argument it asks the VMM to print how often
 * each guest has exited.  The low byte of the answer is its exit status.
 *
 * VMMCALL needs no privilege if the VMM intercepts it (APM 15.13).  Without a
 * VMM it is an invalid opcode, and Linux ends the program. */

#include "svm.h"

#define SYS_IOCTL  16
#define SYS_EXIT   60
#define STDOUT	   1
#define TCSBRK	   0x5409 /* with 1: wait until all output is sent */

	.globl	_start
_start:
	mov	$VMMCALL_CPUNUM, %eax
	cmpq	$1, (%rsp)			/* argc: System V ABI 3.4.1 */
	je	ask
	mov	$SYS_IOCTL, %eax		/* the VMM uses the same line */
	mov	$STDOUT, %edi
	mov	$TCSBRK, %esi
	mov	$1, %edx
	syscall
	mov	$VMMCALL_EXITS, %eax
ask:
	vmmcall
	movzbl	%al, %edi
	mov	$SYS_EXIT, %eax
	syscall

	.section .note.GNU-stack, "", @progbits
