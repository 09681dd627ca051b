"""A workspace made with --lang ja, from the first command to the verdict."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vmmlab.cli.main import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
STEPS = re.compile(r"TODO\(lab\d+\.\d+\)")


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("L")}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**clean, "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT / "grader"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def vmmlab(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process; only its folder and its environment are its own."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("L")]:
            patch.delenv(name)
        for name, value in {"LANG": "C.UTF-8", **environment}.items():
            patch.setenv(name, value)
        patch.chdir(cwd)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def vmmlab_process(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("vmmlab.cli.main", *words, cwd=cwd, **environment)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ja") / "vmm"
    done = vmmlab_process(
        "new", str(folder), "--no-input", "--lang", "ja", "--course", str(ROOT), cwd=folder.parent
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{folder} ができました。次に：\n")
    return folder


def test_the_workspace_remembers_and_its_starters_are_japanese(workspace: Path) -> None:
    assert 'lang = "ja"\n' in (workspace / "workspace.toml").read_text(encoding="utf-8")
    for file in sorted(workspace.glob("lab*/*.[cS]")):
        text = file.read_text(encoding="utf-8")
        assert JAPANESE.search(text.split("*/")[0]), file
        assert STEPS.search(text), file


def test_it_builds_and_says_what_is_next(workspace: Path) -> None:
    done = vmmlab("build", "lab3", "--course", str(ROOT), cwd=workspace)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert re.fullmatch(r"lab3：ビルド完了（[\d.]+ 秒、警告なし）：build/lab3/vmm\.elf", first)
    assert rest[0].startswith("次は lab3/ap_start.c:")
    assert rest[0].endswith("物理アドレス 0 の 5 バイトを退避し、far ジャンプを書く")
    english = vmmlab("build", "lab3", "--lang", "en", "--course", str(ROOT), cwd=workspace)
    assert re.match(r"lab3: built in [\d.]+ s, no warnings", english.stdout)


def test_it_earns_nothing_kindly_and_the_report_stays_english(
    workspace: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.json"
    done = vmmlab(
        *("grade", "lab3", "--submission", ".", "--json", str(report), "--course", str(ROOT)),
        cwd=workspace,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("lab3  0/40 点\n")
    assert "ビルドできました。誰もがここから始めます。" in done.stdout
    assert not re.search(r"\b(expected|observed|where|hint|pass|FAIL)\b", done.stdout)
    assert not JAPANESE.search(report.read_text(encoding="utf-8"))
    assert json.loads(report.read_text())["checks"][0]["title"]["text"].startswith("When the APs")


def test_pytest_speaks_the_language_of_the_workspace(workspace: Path) -> None:
    done = run("pytest", "lab3", "-k", "ljmpw.present", "--lang", "ja", cwd=workspace)
    assert "lab3  0/2 点  一部だけの実行（成績にはならない）" in done.stdout, done.stdout
    assert "vmmlab: 作業用フォルダ vmm、コホート dev" in done.stdout
    again = run("pytest", "lab3", "-k", "ljmpw.present", "--lang", "en", cwd=workspace)
    assert "lab3  0/2 points  partial run, not a grade" in again.stdout


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["grade", "lab77", "--submission", "."], {"LANG": "ja_JP.UTF-8"}, "lab77' という課題は"),
        (
            ["--lang", "ja", "grade", "lab77", "--submission", "."],
            {},
            "lab77' という課題はありません",
        ),
        (["grade", "lab77", "--submission", ".", "--lang=ja"], {}, "  期待： 次のどれか：lab0, "),
        (["grade", "lab77", "--submission", "."], {"LC_ALL": "ja"}, "のことですか"),
        (["grade", "lab77", "--submission", "."], {"LC_ALL": "de_DE"}, "no lab called 'lab77'"),
        (["grade", "lab77", "--submission", ".", "--lang", "en"], {"LANG": "ja"}, "no lab called"),
        (["grade", "lab3", "--submission", "."], {"LANG": "ja"}, "lab3/：ない"),
        (["grade", "--help"], {"LANG": "ja"}, "採点するフォルダまたはアーカイブ。"),
        (["grade", "--help"], {"LANG": "ja"}, "使い方: vmmlab grade"),
        (["grade", "--help"], {"LANG": "ja"}, "オプション: --submission"),
        (["grade", "--help"], {"LANG": "ja"}, "x86_64 か i386。 [既定値: x86_64]"),
        (["grade", "--help"], {"LANG": "ja"}, "この説明を表示して終わる。"),
        (["grade", "--help"], {}, "Usage: vmmlab grade"),
        (["grade", "lab3"], {"LANG": "ja"}, "オプション '--submission' がありません。"),
        (["grade", "lab3", "--sed", "1"], {"LANG": "ja"}, "--sed というオプションはありません。"),
        (
            ["grade", "--help"],
            {},
            "The folder or archive to grade: it contains lab3/ap_start.c and so on.",
        ),
        # what instructors and lab authors use
        (["release", str(ROOT)], {"LANG": "ja"}, "は使われています。何も変えていません。"),
        (["release", str(ROOT), "--lang", "ja"], {}, "別のフォルダを選ぶか、"),
        (["new-lab", "x", "--lang", "ja"], {}, "'x' は課題の名前にできません。"),
        (["mutants", "--write", "x", "--lab", "lab1", "--lang=ja"], {}, "ページに書くのは、全体の"),
        (["check-course", "--lang", "ja"], {}, "忘れているものはありません"),
        (["gradebook", "sync", "--help"], {"LANG": "ja"}, "課題の点を nbgrader の成績簿に入れる。"),
        (["release", str(ROOT)], {}, "is in use; nothing was changed."),
    ],
)
def test_the_language_of_a_command(
    tmp_path: Path, words: list[str], environment: dict[str, str], said: str
) -> None:
    here = [] if "--help" in words else ["--course", str(ROOT)]
    done = vmmlab(*words, *here, cwd=tmp_path, **environment)
    assert said in " ".join((done.stdout + done.stderr).split()) or said in done.stderr
