"""What a boot under KVM says about a grading; outcomes that were recorded, without KVM."""

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.grading.confirm import NO_KVM, Ending, compared, confirmation

PARKED = "vmm_parked+0x2"
WHOLE = Ending((PARKED,) * 4)
EDX_NOT_CLEARED = Ending(("memcmp", *("0xfffffff0",) * 3), reset=True)
ONE_WAITS = Ending((PARKED, PARKED, "apinit_enter+0x12", PARKED))


@pytest.mark.parametrize(
    ("seen", "complete", "said"),
    [
        (WHOLE, True, "confirmed by KVM: 4 of 4 CPUs parked on this processor, too"),
        (WHOLE, False, "what took points does not keep them from it"),
        (EDX_NOT_CLEARED, False, "confirmed by KVM: 0 of 4 CPUs parked on this processor; the"),
        (EDX_NOT_CLEARED, True, "KVM does not agree: 0 of 4 CPUs parked"),
        (ONE_WAITS, True, "KVM does not agree: 3 of 4 CPUs parked on this processor; CPU 2 is at"),
    ],
)
def test_what_is_said(seen, complete, said):
    assert said in str(compared(seen, complete))


def test_without_kvm_nothing_is_confirmed(tmp_path):
    def never(request):
        raise AssertionError("booted without KVM")

    note = confirmation(None, True, boots=never, device=tmp_path / "kvm")
    assert note == NO_KVM
    assert str(note) == "not confirmed: no KVM"


def test_what_cannot_be_booted_is_not_confirmed(tmp_path):
    device = tmp_path / "kvm"
    device.write_bytes(b"")

    def broken(request):
        raise InfraError("QEMU could not be started.")

    said = str(confirmation(None, True, boots=broken, device=device))
    assert said == "not confirmed: QEMU could not be started."
    assert "confirmed by KVM" in str(
        confirmation(None, True, boots=lambda request: WHOLE, device=device)
    )
