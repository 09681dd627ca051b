"""Texts of a lab that a reader of Japanese would be shown in English."""

from __future__ import annotations

from collections.abc import Iterator

from vmmlab.author.check_course.finding import Forgotten, of_error, text_of
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import msg
from vmmlab.course import comments
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course, Lab


def in_japanese(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the texts of a lab that a reader of Japanese would be shown in English."""
    if not course.in_japanese:
        return
    yield from _catalogs(course, lab)
    for name in lab.files:
        yield from _japanese_comments(course, lab, name)


def _catalogs(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield what the gettext catalogs of a lab lack."""
    from vmmlab.author import catalogs  # late: it loads Babel
    from vmmlab.i18n.catalog import po_file

    for place in catalogs.of_lab(course.root, lab.name):
        file = po_file(place.folder, "ja")
        shown = str(file.relative_to(course.root))
        try:
            for one in catalogs.problems(place, "ja"):
                yield Forgotten(shown, one.line, one.what, one.do)
        except VmmlabError as error:
            yield of_error(error, shown)
        except SyntaxError:
            return  # another part of this package reports it


def _japanese_comments(course: Course, lab: Lab, name: str) -> Iterator[Forgotten]:
    file = f"reference/{lab.name}/contracts.ja.yml"
    folder = course.reference_dir / lab.name
    if not (course.root / file).is_file():
        yield Forgotten(
            file,
            0,
            msg("the comments of {name} are not translated into Japanese", name=name),
            msg("translate them"),
        )
        return
    try:
        starter = starter_text(text_of(course, f"reference/{name}") or "", path=name)
    except VmmlabError:
        return  # another part of this package reports it
    try:
        comments.translated(starter, name, folder, "ja")
    except VmmlabError as error:
        yield of_error(error, file)
