"""Code that does not compile, does not keep the contract, or attacks the build."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mini
import pytest

from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildFailed, BuildOptions, Image

Build = Callable[..., Image]
Fail = Callable[..., BuildFailed]
BETA = mini.REFERENCE["lab2/beta.c"]
TRAMP = mini.REFERENCE["lab2/tramp.S"]
COMPILERS = [
    "gcc",
    pytest.param("clang", marks=pytest.mark.skipif(not shutil.which("clang"), reason="no clang")),
]


def first(error: BuildFailed) -> tuple[str, int, str]:
    one = next(one for one in error.diagnostics if one.severity == "error")
    return one.file, one.line, str(one.message)


@pytest.mark.parametrize("compiler", COMPILERS)
class TestDoesNotCompile:
    def test_c(self, fail: Fail, compiler: str) -> None:
        error = fail(
            "lab2", BuildOptions(compiler=compiler), beta_c="int\nbeta (int x)\n{\n\tgo\n}\n"
        )
        file, line, message = first(error)
        assert (file, line) in (("lab2/beta.c", 4), ("lab2/beta.c", 5))
        assert "go" in message
        assert str(error).startswith("lab2/beta.c:")
        assert "lab2/beta.c" in error.log
        assert error.exit_code == 1
        assert error.lab == "lab2"

    def test_asm(self, fail: Fail, compiler: str) -> None:
        error = fail("lab2", BuildOptions(compiler=compiler), tramp_S=TRAMP + "\tfrobnicate %eax\n")
        file, line, message = first(error)
        assert (file, line) == ("lab2/tramp.S", len(TRAMP.splitlines()) + 1)
        assert "frobnicate" in message

    def test_both_files_are_told(self, fail: Fail, compiler: str) -> None:
        error = fail(
            "lab2", BuildOptions(compiler=compiler), tramp_S="bogus 1\n", beta_c="int f (\n"
        )
        assert {one.file for one in error.diagnostics} == {"lab2/tramp.S", "lab2/beta.c"}
        assert "more)" in str(error)

    def test_missing_header(self, fail: Fail, compiler: str) -> None:
        error = fail("lab2", BuildOptions(compiler=compiler), beta_c='#include "nothing.h"\n')
        file, line, message = first(error)
        assert (file, line) == ("lab2/beta.c", 1)
        assert "nothing.h" in message

    def test_broken_code_before_a_given_header(self, fail: Fail, compiler: str) -> None:
        error = fail("lab2", BuildOptions(compiler=compiler), beta_c='int x\n#include "given.h"\n')
        file, line, message = first(error)
        assert (file, line) in (("lab2/beta.c", 2), ("lab2/beta.c", 1))
        assert "include/" not in file
        assert message

    def test_wrong_use_of_a_given_macro(self, fail: Fail, compiler: str) -> None:
        code = '#include "given.h"\nstruct s { int a; };\nint\nbeta (int x)\n{\n'
        code += "\tstruct s s;\n\treturn BAD_USE (&s);\n}\n"
        file, line, message = first(fail("lab2", BuildOptions(compiler=compiler), beta_c=code))
        assert (file, line) == ("lab2/beta.c", 7)
        assert "no_such_member" in message

    def test_undefined_function(self, fail: Fail, compiler: str) -> None:
        code = BETA.replace(
            "{\n\treturn gamma",
            "{\n\textern int missing_one (void);\n\tmissing_one ();\n\treturn gamma",
        )
        error = fail("lab2", BuildOptions(compiler=compiler), beta_c=code)
        file, line, message = first(error)
        assert file == "lab2/beta.c"
        assert code.splitlines()[line - 1] == "\tmissing_one ();"
        assert "undefined reference to missing_one" in message
        assert "/tmp" not in error.log

    def test_undefined_data_in_data(self, fail: Fail, compiler: str) -> None:
        code = BETA + "extern int nowhere;\nint *const keep = &nowhere;\n"
        file, _, message = first(fail("lab2", BuildOptions(compiler=compiler), beta_c=code))
        assert file == "lab2/beta.c"
        assert "nowhere" in message

    def test_undefined_in_asm(self, fail: Fail, compiler: str) -> None:
        code = TRAMP.replace("\tcli\n", "\tcli\n\tjmp\telsewhere\n")
        file, line, message = first(fail("lab2", BuildOptions(compiler=compiler), tramp_S=code))
        assert (file, line) == ("lab2/tramp.S", 7)
        assert "elsewhere" in message

    def test_address_that_does_not_fit_16_bits(self, fail: Fail, compiler: str) -> None:
        code = TRAMP.replace("\tcli\n", "\tcli\n\tmov $tramp_count, %ax\n")
        file, line, message = first(fail("lab2", BuildOptions(compiler=compiler), tramp_S=code))
        assert (file, line) == ("lab2/tramp.S", 7)
        assert "the address of tramp_count does not fit" in message
        assert "distance" in message

    def test_defined_twice(self, fail: Fail, compiler: str) -> None:
        error = fail(
            "lab2",
            BuildOptions(compiler=compiler),
            tramp_S=TRAMP + "\t.globl twice\ntwice:\tret\n",
            beta_c=BETA + "int twice (void);\nint twice (void) { return 0; }\n",
        )
        file, _, message = first(error)
        assert file.startswith("lab2/")
        assert "twice is defined twice" in message

    def test_escapes_do_not_reach_the_reader(self, fail: Fail, compiler: str) -> None:
        error = fail("lab2", BuildOptions(compiler=compiler), beta_c='#error "\x1b[2J\x07boo"\n')
        for text in (str(error), error.log, *(str(one.message) for one in error.diagnostics)):
            assert "\x1b" not in text
            assert "\x07" not in text


class TestContract:
    def test_empty_file(self, fail: Fail) -> None:
        for empty in ("", " \n\t\n"):
            error = fail("lab2", tramp_S=empty)
            assert first(error)[0] == "lab2/tramp.S"
            assert "is empty" in str(error)
            assert "tramp_start" in str(error)

    def test_missing_file(self, builder: Builder) -> None:
        files = mini.solution()
        del files["lab2/beta.c"]
        with pytest.raises(BuildFailed, match=r"lab2/beta\.c: the file is missing"):
            builder.build("lab2", files, mini.MiniCohort())

    def test_only_a_comment(self, fail: Fail) -> None:
        file, _, message = first(fail("lab2", beta_c="/* later */\n"))
        assert file == "lab2/beta.c"
        assert "no function beta" in message

    def test_missing_function(self, fail: Fail) -> None:
        assert "lab2/beta.c: no function gamma_ray" in str(
            fail(
                "lab2",
                beta_c=BETA.replace(
                    "gamma_ray (int x)\n{\n\treturn x * 3",
                    "delta_ray (int x);\nint delta_ray (int x)\n{\n\treturn x * 3",
                ).replace("gamma_ray (x)", "3"),
            )
        )

    def test_missing_label(self, fail: Fail) -> None:
        code = TRAMP.replace("tramp_end:\n", "").replace(", tramp_end", "")
        assert "lab2/tramp.S: no label tramp_end" in str(fail("lab2", tramp_S=code))

    def test_static_function(self, fail: Fail) -> None:
        code = BETA.replace("int\ngamma_ray", "static int\ngamma_ray").replace(
            '#include "given.h"', "extern int counter;"
        )
        assert "gamma_ray is not visible to other files: remove `static`" in str(
            fail("lab2", beta_c=code)
        )

    def test_missing_globl(self, fail: Fail) -> None:
        code = TRAMP.replace(", tramp_count", "")
        assert "add `.globl tramp_count`" in str(fail("lab2", tramp_S=code))

    def test_function_that_is_data(self, fail: Fail) -> None:
        code = "int gamma_ray (int x);\nint gamma_ray (int x) { return x; }\nint beta;\n"
        assert "beta is data; it must be a function" in str(fail("lab2", beta_c=code))

    def test_function_pointer_instead_of_function(self, fail: Fail) -> None:
        code = "int gamma_ray (int x);\nint gamma_ray (int x) { return x; }\n"
        code += "int (*beta) (int) = gamma_ray;\n"
        assert "beta is data" in str(fail("lab2", beta_c=code))

    def test_function_in_data_section(self, fail: Fail) -> None:
        code = BETA.replace("beta (int x)", "unused (int x)").replace(
            "int\nunused", "static int\nunused"
        )
        words = [".pushsection .data", ".globl beta", ".type beta, @function", "beta: ret"]
        code += f'__asm__ ("{";".join([*words, ".popsection"])}");\n'
        assert "beta is data" in str(fail("lab2", beta_c=code))

    def test_bare_number(self, fail: Fail) -> None:
        code = TRAMP.replace("tramp_end:\n", "\t.set tramp_end, 0x40100020\n")
        assert "tramp_end is a plain number" in str(fail("lab2", tramp_S=code))

    def test_common_symbol(self, fail: Fail) -> None:
        code = TRAMP.replace("tramp_count:\n\t.long\t0\n", "\t.comm tramp_count, 4\n").replace(
            "tramp_count - tramp_start", "0"
        )
        assert "tramp_count is not a label" in str(fail("lab2", tramp_S=code))

    def test_other_file_of_the_lab_will_do(self, build: Build) -> None:
        beta = BETA.replace("int\ngamma_ray (int x)\n{\n\treturn x * 3;\n}\n", "")
        tramp = (
            TRAMP
            + "\t.code64\n\t.globl gamma_ray\n\t.type gamma_ray, @function\ngamma_ray:\n\tret\n"
        )
        assert build("lab2", beta_c=beta, tramp_S=tramp).symbols.addr("gamma_ray")

    def test_trampoline_in_data_is_free(self, build: Build) -> None:
        assert build("lab2", tramp_S=TRAMP.replace(".text", ".data")).symbols.addr("tramp_start")


class TestNames:
    """A student's symbols never take the place of provided ones."""

    def test_faked_tracepoint_stays_local(self, build: Build) -> None:
        fake = "\nvoid vmm_parked (void) { counter = 9; }\n"
        code = (
            BETA.replace(
                '#include "given.h"', "extern int counter;\nint beta (int); int gamma_ray (int);"
            )
            + fake
        )
        symbols = build("lab2", beta_c=code).symbols
        assert symbols.owner(symbols.addr("vmm_parked")) == "provided"
        assert symbols.addr("vmm_parked") == build("lab1").symbols.addr("vmm_parked")

    @pytest.mark.parametrize("how", [".globl", ".weak"])
    def test_faked_tracepoint_in_asm(self, build: Build, how: str) -> None:
        code = TRAMP + f"\t{how} vmm_parked\n\t.type vmm_parked, @function\nvmm_parked:\n\thlt\n"
        symbols = build("lab2", tramp_S=code).symbols
        assert symbols.owner(symbols.addr("vmm_parked")) == "provided"

    def test_faked_common(self, build: Build) -> None:
        symbols = build("lab2", tramp_S=TRAMP + "\t.comm counter, 4\n").symbols
        assert symbols.owner(symbols.addr("counter")) == "provided"

    def test_faked_number(self, build: Build) -> None:
        code = TRAMP + "\t.globl vmm_parked\n\t.set vmm_parked, 0x1234\n"
        symbols = build("lab2", tramp_S=code).symbols
        assert symbols.owner(symbols.addr("vmm_parked")) == "provided"

    def test_symbol_of_another_lab(self, build: Build) -> None:
        symbols = build("lab2", beta_c=BETA + "\nvoid alpha (void) { counter = 7; }\n").symbols
        assert symbols.owner(symbols.addr("alpha")) == "prebuilt"

    def test_in_own_mode_the_same(self, builder: Builder) -> None:
        files = mini.solution(beta_c=BETA + "\nvoid alpha (void) { counter = 7; }\n")
        symbols = builder.build_own(files, mini.MiniCohort()).symbols
        assert (symbols.range_at(symbols.addr("alpha")) or symbols.ranges[0]).unit == "lab1"


SECTIONS = {
    ".init_array": '\t.section .init_array, "aw", @init_array\n\t.quad 0\n',
    ".ctors": '\t.section .ctors, "aw"\n\t.quad 0\n',
    ".fini": '\t.section .fini, "ax"\n\tret\n',
    ".multiboot": '\t.section .multiboot, "a"\n\t.long 0x1BADB002, 0, -0x1BADB002\n',
    ".evil": '\t.section .evil, "awx"\n\tret\n',
    ".tbss": '\t.section .tbss, "awT", @nobits\n\t.skip 8\n',
    ".interp": '\t.section .interp, "a"\n\t.asciz "/x"\n',
    ".hidden_stuff": '\t.section .hidden_stuff, ""\n\t.long 1\n',
    ".gnu.warning.beta": '\t.section .gnu.warning.beta, ""\n\t.asciz "boo"\n',
    ".gnu.lto_x": '\t.section .gnu.lto_x, ""\n\t.asciz "boo"\n',
    ".note.mine": '\t.section .note.mine, "a", @note\n\t.long 0\n',
    ".text.g": '\t.section .text.g, "axG", @progbits, sig, comdat\n\tret\n',
}


FLAGS = {
    "compressed": '\t.section .debug_line, "0x800"\n\t.quad 1, 4, 1\n',
    "flags": '\t.section .text.x, "axe"\n\tret\n',
    "aligned": "\t.data\n\t.balign 1 << 20\n\t.long 1\n",
    "debug information": '\t.section .debug_str, "MS", @progbits, 1\n\t.fill 600000, 1, 65\n',
}


class TestTricks:
    @pytest.mark.parametrize("words", sorted(FLAGS))
    def test_flags(self, fail: Fail, words: str) -> None:
        file, _, message = first(fail("lab2", tramp_S=TRAMP + FLAGS[words]))
        assert file == "lab2/tramp.S"
        assert words in message
        assert "allowed" in message

    @pytest.mark.parametrize("name", sorted(SECTIONS))
    def test_section(self, fail: Fail, name: str) -> None:
        error = fail("lab2", tramp_S=TRAMP + SECTIONS[name])
        file, _, message = first(error)
        assert file == "lab2/tramp.S"
        assert name in message or "section group" in message
        assert "not allowed" in message

    def test_constructor(self, fail: Fail) -> None:
        code = BETA + "__attribute__ ((constructor)) static void early (void) { counter = 1; }\n"
        file, _, message = first(fail("lab2", beta_c=code))
        assert file == "lab2/beta.c"
        assert "constructor" in message

    def test_ifunc(self, fail: Fail) -> None:
        code = BETA + (
            "static void *pick (void) { return 0; }\n"
            'void indirect (void) __attribute__ ((ifunc ("pick")));\n'
        )
        assert "indirect function" in str(fail("lab2", beta_c=code))

    def test_thread_local(self, fail: Fail) -> None:
        assert "thread" in str(fail("lab2", beta_c=BETA + "__thread int mine;\n"))

    def test_versioned_symbol(self, fail: Fail) -> None:
        error = fail("lab2", tramp_S=TRAMP + "\t.symver tramp_end, vmm_parked@@V1\n")
        assert first(error)[0] == "lab2/tramp.S"

    def test_unique_symbol(self, fail: Fail) -> None:
        code = TRAMP + "\t.type uni, @gnu_unique_object\nuni:\t.long 0\n"
        assert "linkage" in str(fail("lab2", tramp_S=code))

    @pytest.mark.parametrize(
        "text", ["\t.section .bss\n\t.skip 0x7fffffff\n", "\t.section .data\n\t.skip 5 << 20\n"]
    )
    def test_huge_data(self, fail: Fail, text: str) -> None:
        assert "at most" in str(fail("lab2", tramp_S=TRAMP + text))

    def test_huge_array(self, fail: Fail) -> None:
        error = fail("lab2", beta_c=BETA + "char big[1ul << 31] = { 1 };\n")
        assert first(error)[0] == "lab2/beta.c"

    @pytest.mark.parametrize("compiler", COMPILERS)
    def test_fill(self, fail: Fail, monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
        self.shorten(monkeypatch)
        error = fail(
            "lab2", BuildOptions(compiler=compiler), tramp_S=TRAMP + "\t.fill 0x7fffffff\n"
        )
        file, _, message = first(error)
        assert file == "lab2/tramp.S"
        assert "MiB" in message or "processor time" in message
        assert "Stack dump" not in error.log

    @pytest.mark.parametrize("compiler", COMPILERS)
    def test_include_recursion(self, fail: Fail, compiler: str) -> None:
        error = fail("lab2", BuildOptions(compiler=compiler), beta_c='#include "lab2/beta.c"\n')
        assert first(error)[0] == "lab2/beta.c"
        assert len(error.log) < 100_000
        assert len(error.diagnostics) < 100

    def test_macro_bomb(self, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shorten(monkeypatch)
        lines = ["#define A0(x) x x x x x x x x x x"]
        lines += [f"#define A{n}(x) " + f"A{n - 1}(x) " * 10 for n in range(1, 12)]
        error = fail("lab2", beta_c="\n".join(lines) + "\nint q = 0 A11(+1);\n")
        assert first(error)[0] == "lab2/beta.c"
        assert "processor time" in str(error) or "memory" in str(error)

    @pytest.mark.parametrize("compiler", COMPILERS)
    def test_endless_assembler(
        self, fail: Fail, monkeypatch: pytest.MonkeyPatch, compiler: str
    ) -> None:
        self.shorten(monkeypatch)
        code = TRAMP + "\t.rept 100000000\n\t.set x, 1\n\t.endr\n"
        error = fail("lab2", BuildOptions(compiler=compiler), tramp_S=code)
        assert first(error)[0] == "lab2/tramp.S"
        assert "interrupted" in str(error) or "memory" in str(error)

    def test_recursive_asm_macro(self, fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shorten(monkeypatch)
        error = fail("lab2", tramp_S=TRAMP + "\t.macro m\n\tm\n\tm\n\t.endm\n\tm\n")
        assert first(error)[0] == "lab2/tramp.S"

    def shorten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from vmmlab.host.rlimits import ResourceLimits
        from vmmlab.images import compile

        monkeypatch.setattr(compile, "LIMITS", ResourceLimits(file_mib=16, cpu_s=1, memory_mib=512))

    def test_handwritten_debug_information(self, build: Build) -> None:
        code = (
            TRAMP + '\t.section .debug_line, "", @progbits\n\t.long 0xffffff00\n\t.byte 1, 2, 3\n'
        )
        try:
            image = build("lab2", tramp_S=code)
        except BuildFailed:
            return
        symbols = image.symbols
        for name in symbols.names:
            symbols.line(symbols.addr(name))

    @pytest.mark.parametrize("section", [".debug_info", ".debug_abbrev", ".debug_ranges"])
    def test_more_handwritten_debug_information(self, build: Build, section: str) -> None:
        words = ", ".join(str(n * 37 % 256) for n in range(200))
        code = f'\t.section {section}, "", @progbits\n\t.byte {words}\n' + TRAMP
        try:
            image = build("lab2", tramp_S=code)
        except BuildFailed:
            return
        for name in image.symbols.names:
            image.symbols.line(image.symbols.addr(name))


@pytest.mark.usefixtures("isolated")
class TestReadingOtherFiles:
    """A source cannot include anything outside of its build."""

    def test_incbin(self, fail: Fail) -> None:
        for path in ("/etc/hostname", "/etc/passwd", "/proc/self/environ", "/proc/version"):
            error = fail("lab2", tramp_S=TRAMP + f'\t.incbin "{path}"\n')
            file, line, message = first(error)
            assert (file, line) == ("lab2/tramp.S", len(TRAMP.splitlines()) + 1)
            assert "file not found" in message or "No such file" in message
            assert "root:" not in error.log

    def test_include(self, fail: Fail) -> None:
        error = fail("lab2", beta_c='#include "/etc/passwd"\n')
        assert "No such file" in str(error)
        assert "root:" not in error.log

    def test_include_of_the_reference(self, fail: Fail, kit: Path) -> None:
        for path in (f"{kit}/reference/lab2/beta.c", "../../reference/lab2/beta.c"):
            error = fail("lab2", beta_c=f'#include "{path}"\n')
            assert "No such file" in str(error)
            assert "REFERENCE SECRET" not in error.log

    def test_include_of_another_lab(self, fail: Fail) -> None:
        assert "No such file" in str(fail("lab2", beta_c='#include "lab1/alpha.c"\n'))

    def test_incbin_of_the_cache(self, fail: Fail, cache_dir: Path, build: Build) -> None:
        build("lab1")
        objects = sorted(cache_dir.rglob("lab.o"))
        assert objects
        error = fail("lab2", tramp_S=TRAMP + f'\t.incbin "{objects[0]}"\n')
        assert first(error)[0] == "lab2/tramp.S"

    def test_host_headers(self, fail: Fail) -> None:
        assert "No such file" in str(fail("lab2", beta_c="#include <stdio.h>\n"))

    @pytest.mark.parametrize("compiler", COMPILERS)
    def test_headers_of_the_compiler(self, build: Build, compiler: str) -> None:
        code = (
            "#include <stdint.h>\n#include <stddef.h>\n#include <stdbool.h>\n#include <stdarg.h>\n"
        )
        build("lab2", BuildOptions(compiler=compiler), beta_c=code + BETA)

    def test_has_include_tells_nothing(self, fail: Fail) -> None:
        code = '#if __has_include ("/etc/passwd")\n#error there\n#else\n#error nothing\n#endif\n'
        assert "nothing" in str(fail("lab2", beta_c=code))
