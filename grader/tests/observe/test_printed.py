"""What `panic` is about to print is worked out from its arguments, as core/printf.c would."""

import asyncio

import pytest

from vmmlab.machine.gdb import GdbError
from vmmlab.observe.printed import formatted
from vmmlab.x86.abi import abi_of

FORMAT, NAME = 0x1000, 0x2000


class View:
    """A CPU at the first instruction of `panic`.

    Args:
        text: the format.
        values: the other arguments.
    """

    abi = abi_of("x86_64")

    def __init__(self, text, values):
        self.texts = {FORMAT: text, NAME: "CPU"}
        self.values = (FORMAT, *values)

    async def argument(self, cpu, function, number=0):
        if number >= len(self.abi.registers):
            raise ValueError(number)
        return self.values[number]

    async def read_text(self, cpu, address, most=64):
        return self.texts[address]


@pytest.mark.parametrize(
    ("text", "values", "printed"),
    [
        ("gave up", (), "gave up"),
        ("%s %d of %u", (NAME, 2**32 - 1, 2**32 - 1), "CPU -1 of 4294967295"),
        ("%d %ld", (2**32 + 5, 2**64 - 5), "5 -5"),
        ("%x %08lx %X %p", (0xABC, 0x123456789, 0xAB, 0x40), "abc 123456789 AB 0x40"),
        ("%3d|%03d|%5s|%c", (7, 7, NAME, ord("x")), "  7|007|  CPU|x"),
        ("100%% of %q", (), "100% of q"),
        ("%d %d %d %d %d %d", (1, 2, 3, 4, 5), "1 2 3 4 5 %d"),
    ],
)
def test_a_format_and_its_values(text, values, printed):
    assert asyncio.run(formatted(View(text, values), 0, "panic")) == printed


@pytest.mark.parametrize("kind", ["d", "s", "c"])
def test_a_width_without_end_takes_no_memory(kind):
    text = f"%{'9' * 300}{kind}"
    assert len(asyncio.run(formatted(View(text, (NAME,)), 0, "panic"))) == 400


def test_without_a_stack_nothing_is_known():
    class NoStack(View):
        async def argument(self, cpu, function, number=0):
            raise GdbError("no memory")

    assert asyncio.run(formatted(NoStack("", ()), 0, "panic")) == ""
