"""Texts of a lab that a reader of Japanese would be shown in English."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from vmmlab.author.check_course.finding import Forgotten, of_error, text_of
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import msg
from vmmlab.course import comments
from vmmlab.course.markup import starter_text
from vmmlab.course.model import Course, Lab
from vmmlab.i18n import templates
from vmmlab.i18n.prose import catalog
from vmmlab.i18n.translate import OWN_CATALOGS, Reader


def in_japanese(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the texts of a lab that a reader of Japanese would be shown in English."""
    folder = course.labs_dir / lab.name
    file = f"labs/{lab.name}/messages.ja.yml"
    if (folder / "locale").is_dir():
        yield from _catalogs(course, lab)
        return
    told = [lab.title, *(step.title for step in lab.steps)]
    tests = folder / f"test_{lab.name}.py"
    with suppress(SyntaxError, OSError):  # another part of this package reports it
        told += (
            *templates.titles(tests),
            *templates.arguments(tests, ("expected", "observed", "next")),
        )
    try:
        say = Reader("ja").of(folder)
        known = {**catalog(OWN_CATALOGS, "ja"), **catalog(folder, "ja")}
        strangers = [
            text
            for text in dict.fromkeys(told)
            if templates.has_words(text) and text not in known and say(text) == text
        ]
    except VmmlabError as error:
        yield of_error(error, file)
        return
    for text in strangers:
        yield Forgotten(
            file,
            0,
            msg('no Japanese for "{text}"', text=text),
            msg("add a line with the translation"),
        )
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
            file, 0, msg("no Japanese for the comments of {name}", name=name), msg("translate them")
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
