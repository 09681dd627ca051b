"""The real VMM with its reference: every lab, both compilers, booted in the sandbox."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import ARCHES, Course
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import objects
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions, Image
from vmmlab.images.sources import FromReference, Prebuilt

ROOT = Path(__file__).parents[3]
COMPILERS = [
    "gcc",
    pytest.param("clang", marks=pytest.mark.skipif(not shutil.which("clang"), reason="no clang")),
]
DEV = Cohort.derive("dev")
WORDS = {b"back", b"came"}
"""Words of a panic's text."""

# Ends QEMU with status 2 * 0x10 + 1 as soon as a CPU has been through all three rounds.
EXIT = """
	.globl	vmm_parked
vmm_parked:
	mov	$0x10, %eax
	out	%eax, $0xf4
	hlt
"""
PARKED = 0x21

pytestmark = pytest.mark.skipif(
    not (ROOT / "course.yml").exists() or not (ROOT / "reference").is_dir(),
    reason="no kit around this test",
)


@pytest.fixture(scope="module")
def kit() -> Course:
    return load_course(ROOT)


@pytest.fixture(scope="module")
def files(kit: Course) -> dict[str, bytes]:
    names = [name for lab in kit.labs.values() for name in lab.files]
    return {name: (kit.reference_dir / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def real(kit: Course, cache_dir: Path, box: Sandbox) -> Builder:
    return Builder(kit.tree, kit, box, cache_dir, FromReference(kit.reference_dir))


def boots(box: Sandbox, image: Image, cpus: int = 4) -> bool:
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        pytest.skip("no QEMU")
    machine = f"-M q35 -bios qboot.rom -m 64 -smp {cpus} -nodefaults -display none -no-reboot"
    device = "-device isa-debug-exit,iobase=0xf4,iosize=4"
    done = box.run(
        [qemu, *machine.split(), *device.split(), "-kernel", str(image.kernel)],
        ro=(image.kernel.parent,),
        timeout_s=60,
        limits=ResourceLimits(file_mib=1),
    )
    return done.returncode == PARKED


@pytest.mark.parametrize("opt", ["-O0", "-O2"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_all_own(
    real: Builder, files: dict[str, bytes], box: Sandbox, compiler: str, opt: str
) -> None:
    options = BuildOptions(compiler=compiler, opt=opt, extra_asm=EXIT, extra_replaces=True)
    image = real.build_own(files, DEV, options)
    assert image.warnings == ()
    assert boots(box, image)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("lab", ["lab0", "lab1", "lab2", "lab3", "lab4", "lab5"])
def test_one_own(
    real: Builder, files: dict[str, bytes], box: Sandbox, lab: str, compiler: str
) -> None:
    options = BuildOptions(compiler=compiler, extra_asm=EXIT, extra_replaces=True)
    image = real.build(lab, files, DEV, options)
    assert {one.unit for one in image.symbols.student_ranges} <= {lab}
    assert boots(box, image)


def test_link_order_does_not_matter(real: Builder, files: dict[str, bytes], box: Sandbox) -> None:
    for seed in (1, 2):
        options = BuildOptions(extra_asm=EXIT, extra_replaces=True, link_order_seed=seed)
        assert boots(box, real.build("lab1", files, DEV, options))


def test_another_cohort_with_its_own_prebuilt_objects(
    kit: Course,
    real: Builder,
    files: dict[str, bytes],
    box: Sandbox,
    cache_dir: Path,
    tmp_path: Path,
) -> None:
    cohort = Cohort.derive("autumn", "secret")
    real.make_prebuilt(tmp_path, cohort)
    workspace = Builder(kit.tree, kit, box, cache_dir, Prebuilt(tmp_path))
    options = BuildOptions(extra_asm=EXIT, extra_replaces=True)
    image = workspace.build("lab3", files, cohort, options)
    assert boots(box, image)
    assert image.elf.read_bytes() == real.build("lab3", files, cohort, options).elf.read_bytes()


def test_tracepoints_are_given(real: Builder, files: dict[str, bytes]) -> None:
    symbols = real.build("lab3", files, DEV).symbols
    tracepoints = {"vmm_parked", "vmm_synced", "vmm_todo", "vmm_ap_missing", "ap_entry", "alloc"}
    tracepoints |= {"segment_init_ap", "usleep", "panic", "exception_panic", "num_of_processors"}
    for name in tracepoints | {"sync_id", "entry", "boot_stack", "ap_delays"}:
        assert symbols.owner(symbols.addr(name)) == "provided", name
    for name in ("vmm_parked", "ap_entry", "ap_start", "entry"):
        assert symbols.nearest(symbols.addr(name)) == name
    file, line = symbols.line(symbols.addr("ap_start")) or ("", 0)
    assert file == "lab3/ap_start.c"
    assert line > 0


@pytest.mark.parametrize("arch", ARCHES)
def test_prebuilt_objects_have_no_names_but_those_of_the_contract(
    real: Builder, kit: Course, tmp_path: Path, arch: str
) -> None:
    given = b"".join(path.read_bytes() for path in kit.tree.rglob("*") if path.is_file())
    public = set(re.findall(rb"[A-Za-z_]\w*", given))
    for lab in (lab for lab in kit.labs.values() if lab.files and arch in lab.built_for):
        contract = {name for names in lab.symbols.values() for name in names}
        (path,) = (
            one
            for one in real.make_prebuilt(tmp_path / arch, DEV, BuildOptions(arch=arch))
            if one.stem == lab.name
        )
        content = path.read_bytes()
        read = objects.read(content)
        for one in read.symbols:
            if one.bind == "STB_LOCAL" and one.name and one.type != "STT_SECTION":
                assert re.fullmatch(r"\.Lprebuilt[0-9]+", one.name), (lab.name, one.name)
                assert one.type != "STT_FILE"
        shown = {one.name for one in read.symbols if one.bind != "STB_LOCAL"}
        assert shown - {name.decode() for name in public} <= contract
        own = set()
        for file in lab.files:
            source = (kit.reference_dir / file).read_bytes()
            own |= set(
                re.findall(rb"[A-Za-z_]\w{3,}", re.sub(rb"/\*.*?\*/", b"", source, flags=re.S))
            )
        told = {word for word in own - public if re.search(rb"\b%s\b" % word, content)}
        assert told <= {name.encode() for name in contract} | WORDS
        for name in (b".comment", b".note", b".eh_frame", b".debug", b"build-id", b"GCC: "):
            assert name not in content, (lab.name, name)


def test_prebuilt_objects_tell_nothing(real: Builder, kit: Course, tmp_path: Path) -> None:
    for path in real.make_prebuilt(tmp_path, DEV):
        content = path.read_bytes()
        assert b".debug" not in content
        assert b"SOLUTION" not in content
        assert str(kit.root).encode() not in content
