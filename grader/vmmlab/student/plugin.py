"""The pytest plugin: in a workspace `pytest` grades the student's own work; elsewhere it is inert.

pytest loads this module in every project of an environment that has vmmlab installed, so it imports
nothing of vmmlab until it has found a workspace.toml.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmmlab.base.workspacefile import mark_of, workspace_folder

if TYPE_CHECKING:
    from vmmlab.base.errors import VmmlabError
    from vmmlab.base.message import Text
    from vmmlab.course.cohort import Cohort
    from vmmlab.course.model import Course
    from vmmlab.grading.engine import Engine
    from vmmlab.grading.run import LabRun
    from vmmlab.i18n.translate import Reader
    from vmmlab.report import Report
    from vmmlab.student.grading import OwnLab


def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Register the plugin of a workspace if pytest runs in one.

    In a workspace that is not the user's own, pytest stops before it loads a conftest.py.
    """
    root = _workspace_of(early_config)
    if root is not None:
        _must_be_own(root)
        early_config.pluginmanager.register(WorkspacePlugin(root), "vmmlab-workspace")


def _workspace_of(config: pytest.Config) -> Path | None:
    """Return the workspace that holds the working directory, the rootdir or an argument."""
    here = str(config.invocation_params.dir)
    starts = [here, str(config.rootpath)]
    for argument in getattr(config.known_args_namespace, "file_or_dir", None) or ():
        starts.append(os.path.join(here, str(argument).partition("::")[0]))  # noqa: PTH118
    for start in dict.fromkeys(map(os.path.realpath, starts)):
        folder = workspace_folder(Path(start))
        if folder is not None:
            return folder
    return None


def _must_be_own(root: Path) -> None:
    """Raise pytest.UsageError if pytest would run Python that may not be the user's own."""
    from vmmlab.base import owned
    from vmmlab.base.errors import VmmlabError
    from vmmlab.i18n import translate
    from vmmlab.student.copied import check_python
    from vmmlab.workspace import model as workspace

    known = owned.record(root)
    if known is not None and known.fits(mark_of(root)):
        return  # if its workspace.toml cannot be read, `pytest_sessionstart` says so
    try:
        here = workspace.require(root)
        if here.copied:
            check_python(here)
    except VmmlabError as error:
        say = translate.Reader(translate.choose(None, os.environ))
        raise pytest.UsageError(translate.error_text(error, say)) from None


class WorkspacePlugin:
    """Grades the labs of one workspace with the workspace's own copy of their checks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.engine: Engine | None = None
        self.course: Course | None = None
        self.cohort: Cohort | None = None
        self.copied = False
        self.seed: int | None = None
        self.arch = "x86_64"
        self.say: Reader | None = None
        self.labs: dict[str, OwnLab] = {}
        self.config: pytest.Config | None = None
        self.verdicts: list[Report | tuple[str, VmmlabError]] = []
        self.listening: contextlib.ExitStack = contextlib.ExitStack()

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """Add the options of a workspace."""
        group = parser.getgroup("vmmlab", "grading the labs of this workspace")
        group.addoption(
            "--arch",
            default="x86_64",
            metavar="ARCH",
            help="what to build for: x86_64 or i386 (default: x86_64)",
        )
        group.addoption(
            "--lang",
            default=None,
            metavar="en|ja",
            help="the language of what is shown (default: the workspace's, else what LANG says)",
        )
        group.addoption(
            "--vmm-seed",
            type=int,
            default=None,
            metavar="N",
            help="vary the inputs of the boots (default: always the same for a lab)",
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Find the course this workspace belongs to, and the reader's language."""
        from vmmlab.base import notices
        from vmmlab.base.errors import VmmlabError
        from vmmlab.base.message import msg
        from vmmlab.course.find import find_course
        from vmmlab.course.load import load_course
        from vmmlab.course.model import ARCHES
        from vmmlab.grading.engine import Engine
        from vmmlab.host import tools
        from vmmlab.i18n import translate
        from vmmlab.workspace import model as workspace

        config = self.config = session.config
        language = translate.choose(
            config.getoption("--lang"), os.environ, translate.remembered(self.root)
        )
        say = self.say = translate.Reader(language)
        if config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
            raise pytest.UsageError(
                say(msg("the labs already boot in parallel: run pytest without -n"))
            )
        try:
            here = workspace.require(self.root)
            self.cohort, self.copied = here.cohort, here.copied
            self.course = load_course(find_course(self.root, made_from=here.course))
            if not config.option.collectonly:
                tools.require(tools.FOR_GRADING)
        except VmmlabError as error:
            raise pytest.UsageError(translate.error_text(error, say)) from None
        self.seed = config.getoption("--vmm-seed")
        self.arch = config.getoption("--arch")
        if self.arch not in ARCHES:
            raise pytest.UsageError(
                say(
                    msg(
                        "there is no architecture {arch!r}: --arch is one of {arches}",
                        arch=self.arch,
                        arches=", ".join(ARCHES),
                    )
                )
            )
        self.listening.enter_context(notices.listening(self._tell))
        self.engine = Engine(self._run_of)
        config.pluginmanager.register(self.engine, "vmmlab-engine")

    def _tell(self, text: Text) -> None:
        """Show a remark at once, on a line of its own."""
        assert self.config is not None
        assert self.say is not None
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"vmmlab: {self.say(text)}")

    def pytest_report_header(self) -> str:
        """Name the workspace, the cohort and the architecture."""
        from vmmlab.base.message import msg

        assert self.say is not None
        facts = {"folder": self.root.name, "cohort": self.cohort.name if self.cohort else "?"}
        here = msg("workspace {folder}, cohort {cohort}", **facts)
        if self.arch != "x86_64":
            here = msg("workspace {folder}, cohort {cohort}, {arch}", **facts, arch=self.arch)
        return f"vmmlab: {self.say(here)}"

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        """Put the labs in the order of the course: lab10 comes after lab9.

        Raise UsageError if no selected lab has checks for this architecture, or no check fits:
        pytest and the engine deselect within this call.
        """
        if self.course is not None:
            items.sort(key=lambda item: self._number(item.path.parent.name))
        names = {name for item in items for name in (item.name, *item.extra_keyword_matches)}
        yield
        if not items and self.course is not None:
            self._nothing_selected(names)

    def _number(self, lab: str) -> int:
        """Return the place of a lab in the course; the end for what is none."""
        labs = list(self.course.labs) if self.course is not None else []
        return labs.index(lab) if lab in labs else len(labs)

    def _nothing_selected(self, names: Set[str]) -> None:
        from vmmlab.base.errors import UsageError
        from vmmlab.base.message import msg
        from vmmlab.base.nearest import nearest_names
        from vmmlab.i18n.translate import error_text

        assert self.say is not None
        assert self.config is not None
        assert self.course is not None
        wanted = self.config.getoption("keyword")
        known = {name for name in names if "." in name and ".py" not in name} or set(names)
        if wanted and names:
            near = ", ".join(nearest_names(wanted, known))
            raise pytest.UsageError(
                self.say(
                    msg(
                        "no check matches -k {wanted}; the nearest are: {near}",
                        wanted=wanted,
                        near=near,
                    )
                )
            )
        for lab in sorted(self.labs):
            try:
                self.course.graded_for(lab, self.arch)
            except UsageError as error:
                raise pytest.UsageError(error_text(error, self.say)) from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Make the reports; a check that could not be judged changes the exit code."""
        from vmmlab.report import Report, exit_code
        from vmmlab.student import progress

        self.listening.close()
        if self.engine is None:
            return
        for lab, run in sorted(self.engine.runs.items(), key=lambda one: self._number(one[0])):
            if run.error is not None:
                self.verdicts.append((lab, run.error))
            elif run.results():
                self.verdicts.append(self.labs[lab].report(self.root))
            run.end()
        progress.note(self.root, (one for one in self.verdicts if isinstance(one, Report)))
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            codes = [
                exit_code(verdict) if isinstance(verdict, Report) else verdict[1].exit_code
                for verdict in self.verdicts
            ]
            session.exitstatus = max([int(session.exitstatus), *codes])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the reports instead of tracebacks."""
        from vmmlab.base.message import msg
        from vmmlab.i18n.translate import error_text
        from vmmlab.report import Report
        from vmmlab.report.terminal import render
        from vmmlab.student.progress import guide

        assert self.say is not None
        for verdict in self.verdicts:
            if isinstance(verdict, Report):
                terminalreporter.write_sep("=", verdict.lab)
                writer = terminalreporter.config.get_terminal_writer()
                assert self.course is not None
                text = render(
                    verdict,
                    width=writer.fullwidth,
                    color=writer.hasmarkup,
                    say=self.say.of(self.course.labs_dir / verdict.lab),
                    guide=guide(self.root, self.course, verdict, self.say.language),
                )
                terminalreporter.write(text + "\n", flush=True)
            else:
                lab, error = verdict
                terminalreporter.write_sep("=", lab)
                text = self.say(msg("{lab} was not graded.", lab=lab))
                text = f"{text} {error_text(error, self.say)}"
                terminalreporter.write_line(text, red=True)

    def _run_of(self, path: Path) -> LabRun | None:
        """Return the run of the lab whose checks `path` holds, if it is this workspace's copy."""
        assert self.course is not None
        folder = path.parent
        if hidden := self.course.self_study and folder.name == "hidden":
            folder = folder.parent
        lab = folder.name
        if folder.parent != self.root or lab not in self.course.labs:
            return None
        if path.name != f"test_{lab}.py" and not hidden:
            return None
        if lab not in self.labs:
            self.labs[lab] = self._lab(lab)
        return self.labs[lab].grading.run

    def _lab(self, lab: str) -> OwnLab:
        from vmmlab.student.grading import OwnWork, own_lab

        assert self.course is not None
        assert self.cohort is not None
        work = OwnWork(self.root, self.course, self.cohort, self.copied, self.arch, self.seed)
        return own_lab(work, lab)
