"""Fixtures that build and explore lab-4 code."""

import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from vmmlab.course.cohort import Cohort
from vmmlab.course.load import load_course
from vmmlab.course.model import Course
from vmmlab.course.reference import reference
from vmmlab.explore import Bounds, Declaration, Exploration, explore, load
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildOptions, Image
from vmmlab.images.sources import FromReference

ROOT = Path(__file__).parents[3]
Files = Mapping[str, bytes]
Explored = Callable[..., Exploration]


@pytest.fixture(autouse=True)
def _engines() -> Iterator[None]:
    """Give back the memory of engines at once: with many CPUs one has hundreds of mappings."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def course() -> Course:
    return load_course(ROOT)


@pytest.fixture(scope="session")
def solution(course: Course) -> dict[str, bytes]:
    """The files of lab 4 from the reference."""
    return dict(reference(course, ["lab4"]).files)


@pytest.fixture(scope="session")
def builder(course: Course) -> Builder:
    """The builder of the course, whose other labs come from the reference."""
    sandbox = Sandbox.choose(require=False)
    return Builder(course.tree, course, sandbox, None, FromReference(course.reference_dir))


@pytest.fixture(scope="session")
def built(builder: Builder) -> Callable[..., Image]:
    """Return a function that builds lab 4 from files."""

    def build(files: Files, compiler: str = "gcc", opt: str = "-O2", cohort: str = "dev") -> Image:
        options = BuildOptions(compiler=compiler, opt=opt)
        return builder.build("lab4", files, Cohort.derive(cohort), options)

    return build


@pytest.fixture(scope="session")
def declared(course: Course) -> Declaration:
    """What lab 4 declares."""
    return load("lab4", course.labs_dir / "lab4")


@pytest.fixture(scope="session")
def explored(built: Callable[..., Image], declared: Declaration) -> Explored:
    """Return a function that builds lab 4 from files and explores it."""

    def run(
        files: Files,
        *scenarios: str,
        compiler: str = "gcc",
        opt: str = "-O2",
        cohort: str = "dev",
        bounds: Bounds | None = None,
    ) -> Exploration:
        image = built(files, compiler, opt, cohort)
        numbers = Cohort.derive(cohort)
        return explore(
            image, numbers, declared, sources=files, bounds=bounds, scenarios=scenarios or None
        )

    return run
