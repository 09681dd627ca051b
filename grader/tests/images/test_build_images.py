"""Builds of the mini tree: what an image contains, and what changes it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import mini
import pytest
from conftest import entries
from elftools.elf.elffile import ELFFile

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.host.sandbox import Sandbox
from vmmlab.images import compile
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildFailed, BuildOptions, Image
from vmmlab.images.sources import FromReference, Prebuilt

Build = Callable[..., Image]
BETA = mini.REFERENCE["lab2/beta.c"]
COMPILERS = [
    "gcc",
    pytest.param("clang", marks=pytest.mark.skipif(not shutil.which("clang"), reason="no clang")),
]
DEV = mini.MiniCohort()


def locals_and_globals(path: Path) -> tuple[set[str], set[str]]:
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        local, visible = set(), set()
        for symbol in table.iter_symbols():
            if symbol.name and symbol["st_shndx"] != "SHN_UNDEF":
                bind = symbol["st_info"]["bind"]
                (local if bind == "STB_LOCAL" else visible).add(symbol.name)
    return local, visible


@pytest.mark.parametrize("compiler", COMPILERS)
class TestImage:
    def test_is_linked_where_the_script_says(self, build: Build, compiler: str) -> None:
        image = build("lab2", BuildOptions(compiler=compiler))
        with image.elf.open("rb") as file:
            elf = ELFFile(file)
            assert (elf.elfclass, elf["e_type"]) == (64, "ET_EXEC")
        with image.kernel.open("rb") as file:
            elf = ELFFile(file)
            assert (elf.elfclass, elf["e_machine"]) == (32, "EM_386")
            assert elf.get_segment(0)["p_paddr"] == 0x100000
        assert b"\x02\xb0\xad\x1b" in image.kernel.read_bytes()[:8192]

    def test_owners(self, build: Build, compiler: str) -> None:
        symbols = build("lab2", BuildOptions(compiler=compiler)).symbols
        owner = {name: symbols.owner(symbols.addr(name)) for name in symbols.names}
        assert owner["vmm_parked"] == owner["counter"] == "provided"
        assert owner["beta"] == owner["tramp_count"] == "student"
        assert owner["alpha"] == owner["delta"] == "prebuilt"
        assert {one.unit for one in symbols.student_ranges} == {"lab2"}

    def test_lines(self, build: Build, compiler: str) -> None:
        symbols = build("lab2", BuildOptions(compiler=compiler)).symbols
        file, line = symbols.line(symbols.addr("beta")) or ("", 0)
        assert file == "lab2/beta.c"
        assert "beta" in "".join(BETA.splitlines()[line - 3 : line])
        assert symbols.line(symbols.addr("tramp_start")) == ("lab2/tramp.S", 6)
        assert (symbols.line(symbols.addr("vmm_parked")) or ("",))[0] == "core/main.c"
        assert (symbols.line(symbols.addr("entry")) or ("",))[0] == "boot/entry.S"
        assert symbols.line(symbols.addr("alpha")) is None, "a prebuilt object has no lines"
        assert symbols.line(0x1234) is None

    def test_nothing_of_this_machine_gets_in(
        self, kit: Path, tmp_path: Path, compiler: str
    ) -> None:
        for box in (Sandbox.choose(require=False), Sandbox.none()):
            cache = tmp_path / box.kind
            builder = Builder(
                kit / "tree", mini.COURSE, box, cache, FromReference(kit / "reference")
            )
            image = builder.build("lab2", mini.solution(), DEV, BuildOptions(compiler=compiler))
            for path in cache.rglob("*"):
                if path.is_file():
                    assert str(tmp_path).encode() not in path.read_bytes(), path
            assert b"REFERENCE SECRET" not in image.elf.read_bytes()

    def test_same_image_without_sandbox(
        self, kit: Path, build: Build, tmp_path: Path, compiler: str
    ) -> None:
        options = BuildOptions(compiler=compiler)
        plain = Builder(
            kit / "tree", mini.COURSE, Sandbox.none(), tmp_path, FromReference(kit / "reference")
        ).build("lab2", mini.solution(), DEV, options)
        assert plain.elf.read_bytes() == build("lab2", options).elf.read_bytes()

    def test_warnings_are_facts(self, build: Build, compiler: str) -> None:
        image = build("lab2", BuildOptions(compiler=compiler), beta_c=BETA + "static int zed;\n")
        (warning,) = image.warnings
        assert (warning.file, warning.severity) == ("lab2/beta.c", "warning")
        assert warning.line == len(BETA.splitlines()) + 1
        assert "zed" in str(warning.message)

    @pytest.mark.parametrize("opt", ["-O0", "-O2"])
    def test_all_own(self, builder: Builder, compiler: str, opt: str) -> None:
        image = builder.build_own(mini.solution(), DEV, BuildOptions(compiler=compiler, opt=opt))
        symbols = image.symbols
        assert image.lab == "all"
        assert {one.unit for one in symbols.student_ranges} == {"lab1", "lab2", "lab3"}
        assert not any(one.owner == "prebuilt" for one in symbols.ranges)


class TestOptions:
    def test_delays(self, build: Build) -> None:
        def value(image: Image) -> int:
            address = image.symbols.addr("init_us")
            with image.elf.open("rb") as file:
                section = ELFFile(file).get_section_by_name(".data")
                at = address - section["sh_addr"]
                return int.from_bytes(section.data()[at : at + 4], "little")

        assert value(build("lab1")) == 100
        assert value(build("lab1", BuildOptions(delays="faithful"))) == 10000

    def test_opt_is_for_the_student(self, build: Build) -> None:
        fast, slow = build("lab2"), build("lab2", BuildOptions(opt="-O0"))
        assert fast.symbols.size("beta") < slow.symbols.size("beta")
        assert fast.symbols.size("vmm_parked") == slow.symbols.size("vmm_parked")

    def test_what_the_student_uses(self, build: Build) -> None:
        assert build("lab2").uses == {"counter"}
        code = BETA + "\nvoid extra (void);\nvoid extra (void) { vmm_parked (); }\n"
        assert build("lab2", beta_c=code).uses == {"counter", "vmm_parked"}

    def test_cohort_reaches_every_part(self, builder: Builder) -> None:
        files = mini.solution(
            beta_c='#include "cohort.h"\nconst char mine[] = VMM_COHORT;\n' + BETA
        )
        image = builder.build("lab2", files, mini.MiniCohort("zebra"))
        assert image.elf.read_bytes().count(b"zebra\0") >= 2
        assert image.cohort == "zebra"

    def test_extra_asm(self, build: Build) -> None:
        code = '#include "cohort.h"\n.globl probe\nprobe:\n.asciz VMM_COHORT\n'
        symbols = build("lab2", BuildOptions(extra_asm=code)).symbols
        assert symbols.owner(symbols.addr("probe")) == "extra"

    def test_extra_asm_may_replace(self, build: Build) -> None:
        code = ".globl vmm_parked\nvmm_parked:\n\thlt\n"
        options = BuildOptions(extra_asm=code, extra_replaces=True)
        symbols = build("lab2", options).symbols
        assert symbols.owner(symbols.addr("vmm_parked")) == "extra"
        with pytest.raises(InfraError, match="Linking"):
            build("lab2", replace(options, extra_replaces=False))

    def test_bad_extra_asm_is_the_graders_fault(self, build: Build) -> None:
        with pytest.raises(InfraError, match="grader's own"):
            build("lab2", BuildOptions(extra_asm="nonsense\n"))

    def test_link_order(self, build: Build) -> None:
        def order(seed: int | None) -> list[str]:
            ranges = build("lab2", BuildOptions(link_order_seed=seed)).symbols.ranges
            return [one.unit for one in ranges if one.section.startswith(".initfunc")]

        def units(seed: int | None) -> list[str]:
            ranges = build("lab2", BuildOptions(link_order_seed=seed)).symbols.ranges
            return [one.unit for one in ranges if one.section == ".text"]

        assert units(None)[0] == "boot/entry.S"
        shuffled = [units(seed) for seed in range(4)]
        assert all(one[0] == "boot/entry.S" for one in shuffled)
        assert len({tuple(one) for one in shuffled}) > 1
        assert units(3) == shuffled[3]
        assert {tuple(order(seed)) for seed in range(6)} == {
            ("core/main.c", "lab1"),
            ("lab1", "core/main.c"),
        }

    @pytest.mark.parametrize(
        "options", [{"compiler": "tcc"}, {"arch": "m68k"}, {"opt": "-O9"}, {"delays": "long"}]
    )
    def test_unknown_ones(self, build: Build, options: dict[str, str]) -> None:
        with pytest.raises(UsageError) as caught:
            build("lab2", BuildOptions(**options))  # type: ignore[arg-type]
        assert caught.value.expected

    def test_unknown_lab(self, build: Build) -> None:
        with pytest.raises(UsageError, match="lab11"):
            build("lab11")

    def test_lab_without_files(self, builder: Builder) -> None:
        assert builder.build("lab0", {}, DEV).symbols.student_ranges == ()

    def test_versions(self, builder: Builder) -> None:
        assert "gcc" in builder.versions()["gcc"]


class TestCaching:
    def test_nothing_changed(self, build: Build) -> None:
        first = build("lab2")
        began = time.perf_counter()
        again = build("lab2")
        assert time.perf_counter() - began < 0.1
        assert again.key == first.key
        assert again.symbols.names == first.symbols.names

    def test_another_edit_is_another_image(self, build: Build) -> None:
        keys = {
            build("lab2").key,
            build("lab2", beta_c=BETA + "\n").key,
            build("lab3").key,
            build("lab2", BuildOptions(opt="-O0")).key,
            build("lab2", BuildOptions(delays="faithful")).key,
        }
        assert len(keys) == 5

    def test_a_changed_header_counts(self, kit: Path, box: Sandbox, tmp_path: Path) -> None:
        tree = shutil.copytree(kit / "tree", tmp_path / "tree")
        builder = Builder(tree, mini.COURSE, box, tmp_path / "c", FromReference(kit / "reference"))
        first = builder.build("lab1", mini.solution(), DEV)
        header = tree / "include/given.h"
        header.write_text(
            header.read_text().replace("{ __FILE__, id, func }", '{ "HEY", id, func }')
        )
        second = builder.build("lab1", mini.solution(), DEV)
        assert b"HEY" in second.elf.read_bytes()
        assert first.key != second.key

    def test_damaged_entry_is_built_again(self, kit: Path, box: Sandbox, tmp_path: Path) -> None:
        builder = Builder(
            kit / "tree", mini.COURSE, box, tmp_path, FromReference(kit / "reference")
        )
        image = builder.build("lab2", mini.solution(), DEV)
        good = image.elf.read_bytes()
        image.elf.write_bytes(good[:100])
        assert builder.build("lab2", mini.solution(), DEV).elf.read_bytes() == good

    def test_two_at_once(self, kit: Path, box: Sandbox, tmp_path: Path) -> None:
        reference = FromReference(kit / "reference")

        def once(_: int) -> bytes:
            builder = Builder(kit / "tree", mini.COURSE, box, tmp_path, reference)
            return builder.build("lab2", mini.solution(), DEV).elf.read_bytes()

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(once, range(8)))) == 1
        assert not list((tmp_path / "tmp").iterdir()), "scratch directories were left behind"

    def test_one_builder_in_many_threads_compiles_once(
        self, kit: Path, box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs: list[object] = []
        run = Sandbox.run
        monkeypatch.setattr(Sandbox, "run", lambda *a, **k: runs.append(a) or run(*a, **k))
        builder = Builder(
            kit / "tree", mini.COURSE, box, tmp_path, FromReference(kit / "reference")
        )
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: builder.build("lab2", mini.solution(), DEV), range(8)))
        assert len(runs) == 5, "given, lab1, lab2, lab3 and one link"

    def test_full_disk(self, kit: Path, box: Sandbox, tmp_path: Path) -> None:
        told = 0
        for size in ("4k", "24k", "48k", "72k", "96k", "112k"):
            place = tmp_path / size
            place.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
            if subprocess.run(mount, capture_output=True, check=False).returncode:
                pytest.skip("no right to mount")
            try:
                reference = FromReference(kit / "reference")
                builder = Builder(kit / "tree", mini.COURSE, box, place, reference)
                try:
                    builder.build("lab2", mini.solution(), DEV)
                except InfraError as error:
                    told += 1
                    self.judge_full(error, place)
            finally:
                subprocess.run(["umount", str(place)], check=True)
        assert told >= 3

    def judge_full(self, error: InfraError, place: Path) -> None:
        assert "disk is full" in str(error)
        assert str(place) in str(error)
        assert "XDG_CACHE_HOME" in str(error.next_step)

    def test_unusable_cache_directory(self, kit: Path, box: Sandbox, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for place in (tmp_path / "file", Path("/proc/nowhere/cache")):
            builder = Builder(
                kit / "tree", mini.COURSE, box, place, FromReference(kit / "reference")
            )
            with pytest.raises(InfraError) as caught:
                builder.build("lab2", mini.solution(), DEV)
            assert "XDG_CACHE_HOME" in str(caught.value.next_step)


class TestStandins:
    @pytest.fixture
    def shipped(self, builder: Builder, tmp_path: Path) -> Path:
        made = builder.make_prebuilt(tmp_path / "prebuilt", DEV)
        assert [path.name for path in made] == ["lab1.o", "lab2.o", "lab3.o"]
        return tmp_path / "prebuilt"

    def test_only_contract_symbols(self, shipped: Path) -> None:
        for lab in mini.LABS.values():
            if lab.files:
                local, visible = locals_and_globals(shipped / f"{lab.name}.o")
                assert visible == {name for names in lab.symbols.values() for name in names}
                assert local == set()
                with (shipped / f"{lab.name}.o").open("rb") as file:
                    names = [section.name for section in ELFFile(file).iter_sections()]
                assert not [name for name in names if "debug" in name or "comment" in name]

    def test_names_of_helpers_are_gone(self, kit: Path, box: Sandbox, tmp_path: Path) -> None:
        clever = "int clever_trick (int x);\nint clever_trick (int x) { return x + 1; }\n" + BETA
        clever = clever.replace("x * 3", "clever_trick (x) * clever_trick (2 * x)")
        reference = mini.write(tmp_path / "r", {**mini.REFERENCE, "lab2/beta.c": clever})
        builder = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", FromReference(reference))
        builder.make_prebuilt(tmp_path / "s", DEV)
        assert b"clever" not in (tmp_path / "s/lab2.o").read_bytes()
        image = builder.build("lab1", mini.solution(), DEV)
        assert b"clever" not in image.elf.read_bytes()
        assert image.symbols.maybe("clever_trick") is None

    def test_prebuilt_gives_the_same_image(
        self, kit: Path, box: Sandbox, shipped: Path, build: Build, tmp_path: Path
    ) -> None:
        builder = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", Prebuilt(shipped))
        image = builder.build("lab2", mini.solution(), DEV)
        assert image.elf.read_bytes() == build("lab2").elf.read_bytes()
        assert builder.build("lab2", mini.solution(), DEV).key == image.key

    def test_prebuilt_held_back(
        self, kit: Path, box: Sandbox, shipped: Path, tmp_path: Path
    ) -> None:
        (shipped / "lab3.o").unlink()
        builder = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", Prebuilt(shipped))
        with pytest.raises(UsageError, match="no prebuilt object for lab3") as caught:
            builder.build("lab2", mini.solution(), DEV)
        assert "make vmm" in str(caught.value.next_step)
        assert builder.build("lab3", mini.solution(), DEV)
        assert builder.build_own(mini.solution(), DEV)

    def test_prebuilt_for_another_cohort(
        self, kit: Path, box: Sandbox, shipped: Path, tmp_path: Path
    ) -> None:
        builder = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", Prebuilt(shipped))
        with pytest.raises(UsageError, match="made for another configuration") as caught:
            builder.build("lab2", mini.solution(), mini.MiniCohort("zebra"))
        assert "dev" in str(caught.value.found)

    def test_prebuilt_for_the_other_cohort_lie_in_a_folder_of_its_name(
        self, kit: Path, box: Sandbox, shipped: Path, builder: Builder, tmp_path: Path
    ) -> None:
        zebra = mini.MiniCohort("zebra")
        builder.make_prebuilt(shipped / "zebra", zebra)
        other = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", Prebuilt(shipped))
        assert other.build("lab2", mini.solution(), zebra).cohort == "zebra"
        assert other.build("lab2", mini.solution(), DEV).cohort == "dev"

    def test_prebuilt_with_damaged_manifest(
        self, kit: Path, box: Sandbox, shipped: Path, tmp_path: Path
    ) -> None:
        (shipped / "standins.json").write_text("[")
        builder = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", Prebuilt(shipped))
        with pytest.raises(UsageError, match="cannot be read"):
            builder.build("lab2", mini.solution(), DEV)

    def test_prebuilt_objects_cannot_be_written(self, builder: Builder, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InfraError, match="could not be written"):
            builder.make_prebuilt(tmp_path / "file", DEV)


class TestOurOwnFaults:
    """The kit's own faults are InfraError, never BuildFailed: they must not cost points."""

    def builder(self, kit: Path, tmp_path: Path, box: Sandbox, part: str, **change: str) -> Builder:
        copy = shutil.copytree(kit, tmp_path / "kit")
        mini.write(copy / part, {name.replace("__", "/"): text for name, text in change.items()})
        reference = FromReference(copy / "reference")
        return Builder(copy / "tree", mini.COURSE, box, tmp_path / "cache", reference)

    @pytest.mark.parametrize("text", ["int f (void) {", "static int unused;"])
    def test_given_code(self, kit: Path, tmp_path: Path, box: Sandbox, text: str) -> None:
        builder = self.builder(kit, tmp_path, box, "tree", **{"core__start.c": text})
        with pytest.raises(InfraError, match="given VMM code does not compile") as caught:
            builder.build("lab2", mini.solution(), DEV)
        assert "core/start.c:1" in str(caught.value.found)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("int f (void) {", "does not compile"),
            ("static int unused;", "does not compile"),
            ("int other;", "cannot be linked"),
        ],
    )
    def test_reference(
        self, kit: Path, tmp_path: Path, box: Sandbox, text: str, words: str
    ) -> None:
        builder = self.builder(kit, tmp_path, box, "reference", **{"lab1__alpha.c": text})
        with pytest.raises(InfraError, match=words):
            builder.build("lab2", mini.solution(), DEV)

    def test_compiler_that_the_system_ends(
        self, kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake = tmp_path / "bin" / "gcc"
        fake.parent.mkdir()
        fake.write_text(
            "#!/bin/sh\ncase $* in *print-file*) echo /x; exit;; esac\n"
            "echo 'gcc: fatal error: Killed signal terminated program cc1' >&2\nexit 1\n"
        )
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
        ended = itertools.count()
        monkeypatch.setattr(compile, "oom_kills", lambda: next(ended))
        reference = FromReference(kit / "reference")
        builder = Builder(kit / "tree", mini.COURSE, Sandbox.none(), tmp_path / "c", reference)
        with pytest.raises(InfraError, match="system killed the compiler"):
            builder.build("lab2", mini.solution(), DEV)

    def test_overloaded_machine(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compile, "WALL_S", 0.001)
        with pytest.raises(InfraError, match="overloaded"):
            build("lab2", beta_c=BETA + "/* slow */")

    def test_link_script(self, kit: Path, tmp_path: Path, box: Sandbox) -> None:
        builder = self.builder(kit, tmp_path, box, "tree", **{"vmm.ld": "nonsense ("})
        with pytest.raises(InfraError, match="Linking"):
            builder.build("lab2", mini.solution(), DEV)

    def test_missing_tree(self, kit: Path, tmp_path: Path, box: Sandbox) -> None:
        reference = FromReference(kit / "reference")
        builder = Builder(tmp_path / "none", mini.COURSE, box, tmp_path / "c", reference)
        with pytest.raises(InfraError, match="given VMM code"):
            builder.build("lab2", mini.solution(), DEV)

    def test_missing_reference(self, kit: Path, tmp_path: Path, box: Sandbox) -> None:
        reference = FromReference(tmp_path / "none")
        builder = Builder(kit / "tree", mini.COURSE, box, tmp_path / "c", reference)
        with pytest.raises(InfraError, match=r"no lab1/alpha\.c"):
            builder.build("lab2", mini.solution(), DEV)

    def test_missing_compiler(self, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(InfraError, match="gcc is not installed") as caught:
            build("lab2", beta_c=BETA + "/* no */")
        assert "apt-get install" in str(caught.value.next_step)

    def test_given_code_that_needs_more_than_labs_define(
        self, kit: Path, tmp_path: Path, box: Sandbox
    ) -> None:
        lab1 = mini.LabLayout("lab1", ("lab1/alpha.c",), {"lab1/alpha.c": ("alpha",)}, "lab1")
        course = mini.Layouts({"lab1": lab1})
        reference = FromReference(kit / "reference")
        builder = Builder(kit / "tree", course, box, tmp_path, reference)
        with pytest.raises(InfraError, match="Linking"):
            builder.build("lab1", mini.solution(), DEV)


def test_failure_leaves_no_entry_and_no_scratch(kit: Path, box: Sandbox, tmp_path: Path) -> None:
    builder = Builder(kit / "tree", mini.COURSE, box, tmp_path, FromReference(kit / "reference"))
    with pytest.raises(BuildFailed):
        builder.build("lab2", mini.solution(beta_c="int"), DEV)
    assert not entries(tmp_path)
    assert not list((tmp_path / "tmp").iterdir())
