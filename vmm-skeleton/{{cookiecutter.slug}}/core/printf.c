/* printf: one call is one piece of text on all consoles. */

#include "asm.h"
#include "printf.h"
#include "spinlock.h"

#define MAX_DIGITS 24
#define PATIENCE   10000000 /* turns to wait for the lock in a panic */

static spinlock_t printf_lock;
static volatile bool panicking;

static void
putchar (char c)
{
	serial_putchar (c);
	vga_putchar (c);
}

static int
put_padded (const char *s, int len, int width, char pad)
{
	int n;

	for (n = len; n < width; n++)
		putchar (pad);
	while (len-- > 0)
		putchar (*s++);
	return n;
}

static int
put_string (const char *s, int width)
{
	int len = 0;

	if (!s)
		s = "(null)";
	while (s[len])
		len++;
	return put_padded (s, len, width, ' ');
}

static int
put_decimal (ulong value, bool negative, int width, char pad)
{
	char buf[MAX_DIGITS];
	char *p = buf + MAX_DIGITS;

	do
		*--p = '0' + value % 10;
	while (value /= 10);
	if (negative)
		*--p = '-';
	return put_padded (p, buf + MAX_DIGITS - p, width, pad);
}

static int
put_hex (u64 value, char ten, int width, char pad)
{
	char buf[MAX_DIGITS];
	char *p = buf + MAX_DIGITS;
	uint digit;

	do {
		digit = value & 15;
		*--p = digit < 10 ? '0' + digit : ten + (digit - 10);
	} while (value >>= 4);
	return put_padded (p, buf + MAX_DIGITS - p, width, pad);
}

/* Converts by one specification; format points behind the '%' and is moved
 * behind the specification. */
static int
convert (const char **format, va_list *ap)
{
	const char *p = *format;
	char pad = ' ';
	int width = 0, longs = 0;
	char c;
	u64 value;
	long number;

	if (*p == '0')
		pad = *p++;
	while (*p >= '0' && *p <= '9')
		width = width * 10 + (*p++ - '0');
	while (*p == 'l') {
		longs++;
		p++;
	}
	c = *p;
	*format = c ? p + 1 : p;
	switch (c) {
	case 'c':
		c = va_arg (*ap, int);
		return put_padded (&c, 1, width, ' ');
	case 's':
		return put_string (va_arg (*ap, const char *), width);
	case 'd':
		number = longs ? va_arg (*ap, long) : va_arg (*ap, int);
		return put_decimal (number < 0 ? -(ulong)number : (ulong)number,
				    number < 0, width, pad);
	case 'u':
	case 'x':
	case 'X':
		if (longs > 1)
			value = va_arg (*ap, u64);
		else if (longs)
			value = va_arg (*ap, ulong);
		else
			value = va_arg (*ap, uint);
		if (c == 'u')
			return put_decimal (value, false, width, pad);
		return put_hex (value, c == 'x' ? 'a' : 'A', width, pad);
	case 'p':
		return put_padded ("0x", 2, 0, ' ') +
		       put_hex ((ulong)va_arg (*ap, void *), 'a', width, pad);
	default:
		return put_padded (&c, c ? 1 : 0, 0, ' ');
	}
}

static bool
lock (void)
{
	uint turns = 0;

	while (!spinlock_trylock (&printf_lock)) {
		if (panicking && ++turns > PATIENCE)
			return false;
		asm_pause ();
	}
	return true;
}

int
vprintf (const char *format, va_list ap)
{
	va_list args;
	bool locked;
	int n = 0;

	va_copy (args, ap);
	locked = lock ();
	while (*format) {
		if (*format != '%') {
			putchar (*format++);
			n++;
		} else {
			format++;
			n += convert (&format, &args);
		}
	}
	if (locked)
		spinlock_unlock (&printf_lock);
	va_end (args);
	return n;
}

int
printf (const char *format, ...)
{
	va_list ap;
	int n;

	va_start (ap, format);
	n = vprintf (format, ap);
	va_end (ap);
	return n;
}

void
printf_panic (void)
{
	panicking = true;
}
