/* Merge sort without extra memory: what is out of place is moved along one by one.  The calls
 * are found by binary search, since those that begin alike stand side by side. */

#include "initfunc.h"
#include "string.h"
#include "types.h"

typedef struct initfunc_data record;

static bool
greater (const record *a, const record *b)
{
	int by_id = strcmp (a->id, b->id);

	return by_id ? by_id > 0 : strcmp (a->filename, b->filename) > 0;
}

static void
merge (record *left, record *right, record *end)
{
	record first;

	while (left < right && right < end) {
		if (!greater (left, right)) {
			left++;
			continue;
		}
		first = *right;
		memmove (left + 1, left, (u8 *)right - (u8 *)left);
		*left++ = first;
		right++;
	}
}

static void
sort (record *begin, record *end)
{
	record *middle = begin + (end - begin) / 2;

	if (end - begin < 2)
		return;
	sort (begin, middle);
	sort (middle, end);
	merge (begin, middle, end);
}

void
initfunc_init (void)
{
	sort (__initfunc_start, __initfunc_end);
}

void
call_initfunc (const char *id)
{
	const record *low = __initfunc_start, *high = __initfunc_end;
	size_t len = strlen (id);

	while (low < high) {
		const record *middle = low + (high - low) / 2;

		if (strcmp (middle->id, id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < (const record *)__initfunc_end && !strncmp (low->id, id, len); low++)
		(*low->func) ();
}
