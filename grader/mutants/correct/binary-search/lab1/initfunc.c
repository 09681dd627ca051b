/* Quicksort; then the first record of a group is searched for by halving. */

#include "initfunc.h"
#include "string.h"
#include "types.h"

typedef struct initfunc_data record;

static int
order (const record *a, const record *b)
{
	const char *p = a->id, *q = b->id;
	int pass;

	for (pass = 0; pass < 2; pass++, p = a->filename, q = b->filename) {
		while (*p && *p == *q)
			p++, q++;
		if (*p != *q)
			return (u8)*p < (u8)*q ? -1 : 1;
	}
	return 0;
}

static void
sort (record *first, record *end)
{
	record *small, *p, pivot, keep;

	while (end - first > 1) {
		pivot = first[(end - first) / 2];
		first[(end - first) / 2] = *first;
		*first = pivot;
		for (small = first, p = first + 1; p < end; p++)
			if (order (p, &pivot) < 0) {
				keep = *++small;
				*small = *p;
				*p = keep;
			}
		*first = *small;
		*small = pivot;
		sort (first, small);
		first = small + 1;
	}
}

void
initfunc_init (void)
{
	sort (__initfunc_start, __initfunc_end);
}

static void
call_from (const record *p, const char *id, size_t len)
{
	if (p == __initfunc_end || strncmp (p->id, id, len) != 0)
		return;
	p->func ();
	call_from (p + 1, id, len);
}

void
call_initfunc (const char *id)
{
	size_t len = strlen (id), low = 0, high = __initfunc_end - __initfunc_start, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (strncmp (__initfunc_start[mid].id, id, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	call_from (__initfunc_start + low, id, len);
}
