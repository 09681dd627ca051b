"""Which labs an image has, and which given files come with them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import mini
import pytest

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions
from vmmlab.images.sources import FromReference

DEV = mini.MiniCohort()
GIVEN = {
    "core/place.c": """
__attribute__ ((weak)) void
filled_later (void)
{
}
""",
    "core/late.c": """
void filled_later (void);

void
late (void)
{
	filled_later ();
}
""",
}
FILLS = """
	.globl	delta, filled_later
delta:
filled_later:
	ret
"""


def course_of(**lab3: object) -> mini.Layouts:
    labs = {name: replace(lab, links="lab2") for name, lab in mini.LABS.items()}
    symbols = {"lab3/delta.S": ("delta", "filled_later")}
    last = replace(mini.LABS["lab3"], given=("core/late.c",), symbols=symbols, **lab3)
    return mini.Layouts({**labs, "lab3": last})


@pytest.fixture
def there(kit: Path, box: Sandbox, tmp_path: Path) -> Builder:
    shutil.copytree(kit, tmp_path / "kit")
    mini.write(tmp_path / "kit/tree", GIVEN)
    mini.write(tmp_path / "kit/reference", {"lab3/delta.S": FILLS})
    reference = FromReference(tmp_path / "kit/reference")
    return Builder(tmp_path / "kit/tree", course_of(), box, tmp_path / "cache", reference)


@pytest.mark.parametrize("lab", ["lab0", "lab1", "lab2"])
def test_no_later_lab_and_not_what_comes_with_it(there: Builder, lab: str) -> None:
    symbols = there.build(lab, mini.solution(), DEV).symbols
    assert symbols.maybe("gamma_ray") is not None
    assert symbols.maybe("delta") is None
    assert symbols.maybe("late") is None
    assert symbols.owner(symbols.addr("filled_later")) == "provided"


def test_a_lab_takes_the_place_of_a_weak_function(there: Builder) -> None:
    files = mini.solution() | {"lab3/delta.S": FILLS.encode()}
    symbols = there.build("lab3", files, DEV).symbols
    assert symbols.owner(symbols.addr("late")) == "provided"
    assert symbols.owner(symbols.addr("filled_later")) == "student"


def test_all_own_files_and_the_reference(there: Builder) -> None:
    files = mini.solution() | {"lab3/delta.S": FILLS.encode()}
    assert there.build_own(files, DEV).symbols.maybe("late") is not None
    assert there.build_reference("lab3", DEV).symbols.maybe("late") is not None
    for image in (
        there.build_own(files, DEV, of="lab1"),
        there.build_own(files, DEV, held_back=("lab3",)),
        there.build_reference("lab1", DEV),
    ):
        assert image.symbols.maybe("late") is None


def test_an_architecture_that_a_lab_is_not_built_for(
    there: Builder, kit: Path, box: Sandbox, tmp_path: Path
) -> None:
    source = FromReference(tmp_path / "kit/reference")
    course = course_of(built_for=("x86_64",))
    builder = Builder(tmp_path / "kit/tree", course, box, tmp_path / "cache", source)
    with pytest.raises(UsageError, match="lab3 is not built for i386") as caught:
        builder.build("lab3", mini.solution(), DEV, BuildOptions(arch="i386"))
    assert caught.value.expected == "x86_64"
    made = builder.make_prebuilt(tmp_path / "made", DEV, BuildOptions(arch="i386"))
    assert [path.name for path in made] == ["lab1.o", "lab2.o"]
    assert builder.build_own(mini.solution(), DEV, BuildOptions(arch="i386")).lab == "all"


@pytest.mark.parametrize("broken", ["SECTIONS { . = no_such_name; }", "SECTIONS {"])
def test_a_link_that_fails_without_the_students_objects_too_is_not_their_fault(
    kit: Path, box: Sandbox, tmp_path: Path, broken: str
) -> None:
    shutil.copytree(kit, tmp_path / "kit")
    (tmp_path / "kit/tree/vmm.ld").write_text(broken)
    reference = FromReference(tmp_path / "kit/reference")
    with pytest.raises(InfraError, match="Linking the image failed"):
        Builder(tmp_path / "kit/tree", mini.COURSE, box, tmp_path / "cache", reference).build(
            "lab2", mini.solution(), DEV
        )
