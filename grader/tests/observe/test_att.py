"""Instructions are shown in AT&T syntax, as the files of the VMM and the handouts have them."""

import pytest

from vmmlab.x86.decode import as_text, decode


@pytest.mark.parametrize(
    ("code", "width", "text"),
    [
        ("803f00", 64, "cmpb $0, (%rdi)"),
        ("f00fb10f", 64, "lock cmpxchgl %ecx, (%rdi)"),
        ("ea00008100", 16, "ljmpw $0x81, $0x0"),
        ("2e0f0116bc9a", 16, "lgdtw %cs:0x9abc"),
        ("0f22d8", 64, "movq %rax, %cr3"),
        ("f4", 64, "hlt"),
        ("0f", 64, ""),
    ],
)
def test_an_instruction_as_text(code, width, text):
    data = bytes.fromhex(code)
    assert as_text(data, 0x1000, width) == text
    found = decode(data, 0x1000, width)
    assert (found.text if found else "") == text
