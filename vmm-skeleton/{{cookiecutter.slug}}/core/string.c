/* Memory and strings.  The compiler itself calls the first four.  String
 * instructions, because a compiler may turn a loop that copies into a call of
 * memcpy. */

#include "string.h"

void *
memcpy (void *dest, const void *src, size_t len)
{
	void *to = dest;

	asm volatile ("rep movsb"
		      : "+D" (to), "+S" (src), "+c" (len)
		      :
		      : "memory");
	return dest;
}

void *
memmove (void *dest, const void *src, size_t len)
{
	u8 *to = (u8 *)dest + len - 1;
	const u8 *from = (const u8 *)src + len - 1;

	if ((ulong)dest - (ulong)src >= len)
		return memcpy (dest, src, len);
	asm volatile ("std; rep movsb; cld"
		      : "+D" (to), "+S" (from), "+c" (len)
		      :
		      : "memory");
	return dest;
}

void *
memset (void *dest, int value, size_t len)
{
	void *to = dest;

	asm volatile ("rep stosb" : "+D" (to), "+c" (len) : "a" (value)
		      : "memory");
	return dest;
}

int
memcmp (const void *a, const void *b, size_t len)
{
	const u8 *p = a, *q = b;

	for (; len; len--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

int
strcmp (const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (u8)*a - (u8)*b;
}

int
strncmp (const char *a, const char *b, size_t len)
{
	for (; len; len--, a++, b++)
		if (*a != *b || !*a)
			return (u8)*a - (u8)*b;
	return 0;
}

size_t
strlen (const char *s)
{
	size_t len = 0;

	while (s[len])
		len++;
	return len;
}
