/* Text for whoever watches: COM1, and the VGA text screen once it is mapped. */
#ifndef PRINTF_H
#define PRINTF_H

#include "types.h"

typedef __builtin_va_list va_list;
#define va_start(ap, last) __builtin_va_start (ap, last)
#define va_arg(ap, type)   __builtin_va_arg (ap, type)
#define va_copy(to, from)  __builtin_va_copy (to, from)
#define va_end(ap)	   __builtin_va_end (ap)

/* Conversions: %c %s %d %u %x %X %p %%, with 0, a width, l and ll.  Decimal
 * numbers are at most an unsigned long.  Returns the number of characters.
 * One call is one piece of text: CPUs do not mix within it. */
int printf (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
int vprintf (const char *format, va_list ap);

/* From here on nobody waits long for the lock of printf: its holder may have
 * stopped.  For panic. */
void printf_panic (void);

/* Consoles: each takes one character. */
void serial_init (void);
void serial_putchar (char c);
void vga_putchar (char c);

#endif
