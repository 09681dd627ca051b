"""At which TODO a CPU stopped, and how a student finds it."""

from dataclasses import replace

import pytest
from handmade import SAMPLE, ap, boot, code, hit

from vmmlab.diagnosis.todo import stopped_at_todo
from vmmlab.observe.milestones import AP_ENTRY
from vmmlab.observe.place import Place

VMM_TODO = code("vmm_todo+0x72", "include/asm.h:18", "provided")
VMM_MAIN = code("vmm_main+0x19", "lab1/vmm_main.c:36")
AP_WAIT = code("ap_wait+0x5", "lab4/handshake.c:99")


def at_a_todo(where):
    """A boot in which the BSP has come to a TODO, and stands at `where`."""
    bsp = replace(SAMPLE.bsp, end_kind="todo", end_place=where)
    return boot(ap(), bsp=bsp, hits=(hit("vmm_todo", 0, "lab1.1"),))


@pytest.mark.parametrize(
    "where",
    [
        replace(VMM_TODO, caller=VMM_MAIN),
        replace(VMM_MAIN, region="trampoline", offset=0x1C, symbol="todo_lab1_1+0x1"),
    ],
    ids=str,
)
def test_a_todo_is_named_by_its_line(where):
    found = stopped_at_todo(at_a_todo(where))
    assert found is not None
    assert (str(found.place), str(found.observed).rpartition(", ")[2]) == (
        "TODO(lab1.1)",
        "in lab1/vmm_main.c:36",
    )
    assert "before lab1/vmm_main.c:36 says" in str(found.next)
    assert "delete that line" in str(found.next)


@pytest.mark.parametrize("where", [VMM_TODO, AP_WAIT, Place(0xFFFFFFF0, "elsewhere")], ids=str)
def test_a_todo_whose_line_is_not_known_gets_no_other_line(where):
    found = stopped_at_todo(at_a_todo(where))
    assert found is not None
    assert str(found.observed).endswith("stopped at TODO(lab1.1)")
    assert "Search your files for lab1.1" in str(found.next)
    assert ".c:" not in str(found.next)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("TODO(lab1.1) in lab1/vmm_main.c:36: write", "in lab1/vmm_main.c:36"),
        ("TODO(lab1.1) in lab1/vmm_main.c:3", "stopped at TODO(lab1.1)"),
    ],
)
def test_a_line_on_the_serial_line_is_read_once_it_is_whole(printed, said):
    found = stopped_at_todo(replace(at_a_todo(VMM_TODO), serial=printed))
    assert found is not None
    assert str(found.observed).endswith(said)


def test_a_todo_in_assembly_is_a_label():
    where = code("todo_lab3_5+0x2", "lab3/apinit.S:30", region="trampoline", offset=0x12)
    found = stopped_at_todo(boot(ap(AP_ENTRY, end_place=where)))
    assert found is not None
    assert (found.cause, found.cpu, str(found.place)) == ("not-written-yet", 1, "TODO(lab3.5)")
    assert "lab3/apinit.S:30" in str(found.next)


@pytest.mark.parametrize("symbol", ["todo_other+0x2", "vmm_todo+0x2", "apinitproc0+0x2"])
def test_another_label_is_no_todo(symbol):
    assert stopped_at_todo(boot(ap(AP_ENTRY, end_place=code(symbol)))) is None


def test_a_step_that_comes_later_is_not_the_cause():
    seen = at_a_todo(VMM_TODO)
    assert stopped_at_todo(replace(seen, later=("lab1.1", "lab1.2"))) is None
    found = stopped_at_todo(replace(seen, later=("lab1.2",)))
    assert found is not None


def test_only_the_cpus_that_are_asked_about_count():
    seen = at_a_todo(VMM_TODO)
    assert stopped_at_todo(seen, seen.aps) is None
    assert stopped_at_todo(seen, [seen.bsp]) == stopped_at_todo(seen)
