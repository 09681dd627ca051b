"""Grades one notebook in two kernels: the student's code in one, the tests in the other.

The student's kernel runs every cell but the tests. At the place of a test, the variables that it
uses are read as plain values: numbers, text, bytes, lists of these. The other kernel runs only the
instructor's cells, with those values. So the student's code never sees a hidden test and cannot
change its result. Both kernels are in sandboxes without the gradebook and without notebooks.

It follows that an answer must be a plain value in a variable that the released worksheet names, as
`rsp = None`. A function is always a wrong answer.
"""

from __future__ import annotations

import symtable
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Literal

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.i18n.translate import Reader
from vmmlab.worksheet.kernel import Done, Kernel, stopped

_PLAIN: Final = "__import__('vmmlab.worksheet.answers', fromlist=['plain']).plain"


@dataclass(frozen=True, slots=True)
class ReleasedCell:
    """A code cell as it was released: for an answer, or locked; a test has points."""

    text: str
    role: Literal["given", "test", "answer"]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that a cell may take, and that the student's cells may take together."""

    cell_s: float
    notebook_s: float


def grade_in_two_kernels(
    nb: Any,
    sources: Mapping[str, ReleasedCell],
    new_kernel: Callable[[], Kernel],
    timing: Timing,
    say: Reader,
) -> list[Text]:
    """Run the code cells of a notebook and put their outputs into it.

    Args:
        nb: the student's notebook; changed.
        sources: the cells that were released, by nbgrader's id.
        new_kernel: starts a kernel; two are needed.
        timing: how long cells may take.
        say: the language of the notebook.

    Returns:
        A text for each cell that was stopped.

    Raises:
        InfraError: a kernel cannot be started, or a locked cell without points fails.
    """
    answers, stops = _students_part(nb, sources, new_kernel, timing, say)
    with _Tests(new_kernel, timing, say) as tests:
        for cell in code_cells(nb):
            source = sources.get(_id(cell))
            if source is not None and source.role == "given":
                tests.prepare(_id(cell), source.text)
            elif source is not None and _id(cell) in answers:
                done = tests.judge(source.text, answers[_id(cell)])
                _put(cell, done.outputs)
                if done.ended:
                    stops.append(msg("test {name}: {why}", name=_id(cell), why=done.ended))
    return stops


def names_needed(text: str) -> set[str]:
    """Return the variables that a cell reads and does not assign; the answers are among them."""
    top = symtable.symtable(text, "cell", "exec")
    made = {one.get_name() for one in top.get_symbols() if one.is_assigned() or one.is_imported()}
    read = {one.get_name() for one in top.get_symbols() if one.is_referenced()}
    waiting = list(top.get_children())
    while waiting:
        inner = waiting.pop()
        waiting += inner.get_children()
        read |= {one.get_name() for one in inner.get_symbols() if one.is_global()}
    return read - made


def names_made(text: str) -> set[str]:
    """Return the variables that a cell assigns or imports."""
    top = symtable.symtable(text, "cell", "exec")
    return {one.get_name() for one in top.get_symbols() if one.is_assigned() or one.is_imported()}


def _students_part(
    nb: Any,
    sources: Mapping[str, ReleasedCell],
    new_kernel: Callable[[], Kernel],
    timing: Timing,
    say: Reader,
) -> tuple[dict[str, dict[str, str]], list[Text]]:
    """Run all cells but the tests.

    Returns:
        For each test the values that it uses, and a text for each cell that was stopped.
    """
    given: set[str] = set().union(
        *(names_made(one.text) for one in sources.values() if one.role == "given")
    )
    asked: set[str] = set().union(
        *(names_made(one.text) for one in sources.values() if one.role == "answer")
    )
    answers: dict[str, dict[str, str]] = {}
    stops: list[Text] = []
    end = time.monotonic() + timing.notebook_s
    with new_kernel() as kernel:
        for number, cell in enumerate(code_cells(nb), start=1):
            source: ReleasedCell | None = sources.get(_id(cell))
            cell.execution_count = number
            left = min(timing.cell_s, end - time.monotonic())
            if left <= 0 or not kernel.alive:
                done = Done(ended=msg("the kernel had ended before, or the time was up"))
            elif source is not None and source.role == "test":
                done = kernel.values(sorted(names_needed(source.text) & asked - given), left)
            else:
                done = kernel.run(cell.source, left)
            if done.ended:
                told = msg("This cell did not run to its end: {why}", why=done.ended)
                done.outputs.append(stopped(done.ended, say(told)))
                stops.append(msg("code cell {number}: {why}", number=number, why=done.ended))
            elif source is not None and source.role == "test":
                answers[_id(cell)] = done.values
            _put(cell, done.outputs)
    return answers, stops


class _Tests:
    """The kernel of the tests; a new one is started after a test that was stopped."""

    def __init__(self, new_kernel: Callable[[], Kernel], timing: Timing, say: Reader) -> None:
        self._say = say
        self._new_kernel = new_kernel
        self._timing = timing
        self._given: dict[str, str] = {}
        self._stack = ExitStack()
        self._kernel: Kernel | None = None

    def __enter__(self) -> _Tests:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self, name: str, text: str) -> None:
        """Run a locked cell without points, such as the numbers of a question."""
        self._given[name] = text
        if self._kernel is not None:
            self._give(self._kernel, name)

    def judge(self, text: str, values: Mapping[str, str]) -> Done:
        """Run a test with a student's values."""
        if self._kernel is None:
            self._kernel = self._stack.enter_context(self._new_kernel())
            for name in self._given:
                self._give(self._kernel, name)
        lines = [f"{name} = {_PLAIN}({value!r})" for name, value in values.items()]
        done = self._kernel.run("\n".join(lines), self._timing.cell_s)
        if not done.ended:
            done = self._kernel.run(text, self._timing.cell_s)
        if done.ended:
            told = msg("The test did not run to its end: {why}", why=done.ended)
            done.outputs.append(stopped(done.ended, self._say(told)))
            self._stack.close()
            self._kernel = None
        return done

    def _give(self, kernel: Kernel, name: str) -> None:
        done = kernel.run(self._given[name], self._timing.cell_s)
        if done.ended or any(one["output_type"] == "error" for one in done.outputs):
            said = [one["evalue"] for one in done.outputs if one["output_type"] == "error"]
            raise InfraError(
                msg("the locked cell {name} does not run.", name=name),
                found=done.ended or "; ".join(said),
                next_step=msg("look at the worksheet in source/, and release it again"),
            )


def code_cells(nb: Any) -> list[Any]:
    """Return the cells of a notebook that are run."""
    return [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]


def _id(cell: Any) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _put(cell: Any, outputs: list[dict[str, Any]]) -> None:
    from nbformat import NotebookNode

    make: Any = NotebookNode
    cell.outputs = [make(one) for one in outputs]
