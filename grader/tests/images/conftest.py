"""Builders on the mini tree, with one cache for the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import mini
import pytest

from vmmlab.host import bubblewrap
from vmmlab.host.sandbox import Sandbox
from vmmlab.images.builder import Builder
from vmmlab.images.model import BuildFailed, BuildOptions, Image
from vmmlab.images.sources import FromReference

Fail = Callable[..., BuildFailed]


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with tree/ and reference/."""
    root = tmp_path_factory.mktemp("kit")
    mini.write(root / "tree", mini.TREE)
    mini.write(root / "reference", mini.REFERENCE)
    return root


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def box() -> Sandbox:
    return Sandbox.choose(require=False)


@pytest.fixture(scope="session")
def builder(kit: Path, cache_dir: Path, box: Sandbox) -> Builder:
    reference = FromReference(kit / "reference")
    return Builder(kit / "tree", mini.COURSE, box, cache_dir, reference)


@pytest.fixture
def build(builder: Builder) -> Callable[..., Image]:
    """build("lab2", beta_c="…", opt="-O0")."""

    def call(lab: str, options: BuildOptions | None = None, **changes: str) -> Image:
        return builder.build(lab, mini.solution(**changes), mini.MiniCohort(), options)

    return call


@pytest.fixture
def fail(build: Callable[..., Image]) -> Fail:
    """Return the BuildFailed that a build raises."""

    def call(lab: str, options: BuildOptions | None = None, **changes: str) -> BuildFailed:
        with pytest.raises(BuildFailed) as caught:
            build(lab, options, **changes)
        return caught.value

    return call


@pytest.fixture
def isolated() -> None:
    """Skip the test where there is no bubblewrap: it is about what bubblewrap hides."""
    if not bubblewrap.examine().works:
        pytest.skip("bubblewrap does not work here")


def entries(cache: Path) -> Mapping[str, Path]:
    """Key to entry directory."""
    return {path.name: path for path in cache.glob("entries/*/*")}
