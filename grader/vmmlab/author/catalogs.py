"""Updates the gettext catalogs and finds what they lack: `make messages`.

Babel extracts, updates, reads and writes; this module knows which texts go into which catalog. A
lab's catalog does not repeat what the package has, nor that of hidden checks what the lab has.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as Entry
from babel.messages.extract import extract_from_file
from babel.messages.pofile import write_po

from vmmlab.base.errors import CourseError
from vmmlab.base.files import write_atomically
from vmmlab.base.message import Text, msg
from vmmlab.base.yamlfile import shown
from vmmlab.i18n import extract
from vmmlab.i18n.catalog import parsed, po_file
from vmmlab.i18n.translate import ENGLISH, LANGUAGES, OWN_CATALOGS

PACKAGE: Final = OWN_CATALOGS.parent
_HEADER: Final = """\
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {plurals}\\n"

"""
_JAPANESE: Final = re.compile(r"[぀-ヿ㐀-鿿、。：（）「」]")
_WORD: Final = re.compile(r"(?<![\w.*&%\-/<>(`{])[A-Za-z]?[a-z]{2,}(?![\w(/*}]|\.\w|->)")


@dataclass(frozen=True)
class TextFile:
    """A file with texts.

    Attributes:
        path: the file.
        method: the Babel extraction method for it.
        options: the options of that method.
    """

    path: Path
    method: Callable[..., Any] = extract.python
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """A folder with a catalog, and where the texts of this catalog come from.

    Attributes:
        folder: the catalogs lie in its folder `locale`.
        sources: the files with its texts.
        known: folders whose catalogs are read as well wherever this one is.
    """

    folder: Path
    sources: tuple[TextFile, ...]
    known: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a catalog.

    Attributes:
        file: the catalog.
        line: from 1; 0 if it is about what is missing.
        what: what is wrong.
        do: what to do about it.
    """

    file: Path
    line: int
    what: Text
    do: Text


def of_package() -> Place:
    """Return where the catalog of the package itself is."""
    return Place(OWN_CATALOGS, tuple(map(TextFile, sorted(PACKAGE.rglob("*.py")))))


def of_lab(root: Path, lab: str) -> tuple[Place, ...]:
    """Return where the catalogs of a lab are: its own, and that of its hidden checks, if any.

    Args:
        root: the folder of course.yml.
        lab: the name of the lab.
    """
    folder = root / "labs" / lab
    course = TextFile(root / "course.yml", extract.course, {"lab": lab})
    places = [Place(folder, (course, *_in(folder)), (OWN_CATALOGS,))]
    hidden = folder / "hidden"
    if hidden.is_dir():
        course = replace(course, options={"lab": lab, "hidden": "yes"})
        places.append(Place(hidden, (course, *_in(hidden)), (folder, OWN_CATALOGS)))
    return tuple(places)


def _in(folder: Path) -> Iterator[TextFile]:
    """Yield the files with texts in the folder of a lab, or in that of its hidden checks."""
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("worksheet"):
            yield TextFile(path)
    if (folder / "causes.yml").is_file():
        yield TextFile(folder / "causes.yml", extract.causes)


def extracted(place: Place, language: str) -> Catalog:
    """Return the texts of a place, without translations.

    Raises:
        CourseError: a source cannot be read, or has a text that could not be found again.
    """
    known = [one for folder in place.known if (one := read(po_file(folder, language)))]
    template = Catalog()
    for source in place.sources:
        for line, text, comments, context in extract_from_file(
            source.method, source.path, options=source.options
        ):
            if not any(catalog.get(text, context) for catalog in known):
                template.add(
                    text,
                    locations=[(shown(source.path), line)],
                    auto_comments=comments,
                    context=context,
                )
    for entry in template:
        entry.flags.discard("python-format")  # "50 % of": no format here
    return template


def read(path: Path) -> Catalog | None:
    """Read a catalog; None if there is none.

    Raises:
        CourseError: the file is no catalog.
    """
    return parsed(path, path.read_bytes()) if path.is_file() else None


def update(place: Place, language: str) -> bool:
    """Write the catalog of a place with the texts that there are now, in their order.

    A text that is gone stays at the end, as obsolete, until its translation has been moved to the
    text that took its place.

    Returns:
        Whether anything has changed.
    """
    path = po_file(place.folder, language)
    catalog = read(path) or Catalog(locale=language)
    template = extracted(place, language)
    for key, entry in list(catalog.obsolete.items()):
        if template.get(entry.id, entry.context):  # the text is used again
            catalog[entry.id] = catalog.obsolete.pop(key)
    catalog.update(template, no_fuzzy_matching=True, update_creation_date=False)
    for key, entry in list(catalog.obsolete.items()):
        if not any(_strings(entry.string)):
            del catalog.obsolete[key]
    text = written(catalog, language)
    if path.is_file() and path.read_bytes() == text:
        return False
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, text)
    return True


def written(catalog: Catalog, language: str) -> bytes:
    """Return the catalog as a file: no dates, places or line breaks that change by themselves."""
    for entry in catalog:
        entry.flags.discard("python-format")
    out = io.BytesIO()
    write_po(out, catalog, width=0, no_location=True, omit_header=True)
    comment = catalog.header_comment
    if "FIRST AUTHOR" in comment:  # Babel's own, for a file without one
        comment = ""
    header = _HEADER.format(language=language, plurals=catalog.plural_forms)
    return f"{comment}\n{header}".lstrip().encode() + out.getvalue().rstrip() + b"\n"


def problems(place: Place, language: str) -> Iterator[Problem]:
    """Yield what is missing or wrong in the catalog of a place.

    Raises:
        CourseError: a file cannot be read.
    """
    path = po_file(place.folder, language)
    template = extracted(place, language)
    catalog = read(path) or Catalog(locale=language)
    for entry in template:
        if entry.id and not catalog.get(entry.id, entry.context):
            where = ":".join(map(str, entry.locations[0]))
            text = msg("{text!r} is missing; it is in {where}", text=_first(entry), where=where)
            yield Problem(path, 0, text, msg("run make messages, then translate it"))
    for entry in catalog:
        if entry.id:
            for what, do in _wrong(entry, catalog, template):
                text = msg("{text!r}: {what}", text=_first(entry), what=what)
                yield Problem(path, entry.lineno or 0, text, do)
    for entry in catalog.obsolete.values():
        text = msg("{text!r} is obsolete", text=_first(entry))
        do = msg("move its translation to the text that replaced it, and delete the entry")
        yield Problem(path, entry.lineno or 0, text, do)


def _wrong(entry: Entry, catalog: Catalog, template: Catalog) -> Iterator[tuple[Text, Text]]:
    strings = _strings(entry.string)
    if not template.get(entry.id, entry.context):
        yield msg("no source contains this text any more"), msg("run make messages")
    elif entry.fuzzy:
        yield msg("the translation is a guess"), msg("correct it, and delete the word fuzzy")
    elif not all(strings):
        yield msg("it is not translated"), msg("translate it")
    else:
        for error in entry.check(catalog):
            yield str(error), msg("correct the translation")
        for string in strings:
            yield from _wrong_fields(_strings(entry.id), string)
            if not entry.context and not _JAPANESE.search(string) and _has_words(_first(entry)):
                yield msg("the translation is not Japanese"), msg("translate it")


def _wrong_fields(sources: Sequence[str], translation: str) -> Iterator[tuple[Text, Text]]:
    try:
        wanted = [set(extract.fields(source)) for source in sources]
    except ValueError:
        return  # braces that are no fields: the text is shown as it is
    try:
        given = set(extract.fields(translation))
    except ValueError as error:
        yield msg("a field of the translation cannot be read: {error}", error=str(error)), _SAME
        return
    if not set.intersection(*wanted) <= given <= set.union(*wanted):
        yield msg("the translation has other fields: {text}", text=translation), _SAME


_SAME: Final = msg("use the fields of the source text, with the same formats")


def _strings(texts: str | Iterable[str] | None) -> tuple[str, ...]:
    return (texts or "",) if isinstance(texts, str) or texts is None else tuple(texts)


def _first(entry: Entry) -> str:
    return _strings(entry.id)[0]


def _has_words(text: str) -> bool:
    """Return whether a text has English words besides names, fields and signs."""
    return (
        " " in text.strip() and _WORD.search(re.sub(r"`[^`]*`|\"[^\"]*\"", " ", text)) is not None
    )


def everywhere(root: Path) -> tuple[Place, ...]:
    """Return all places with catalogs in a clone."""
    labs = sorted(path.parent.name for path in root.glob("labs/lab*/locale"))
    return (of_package(), *(place for lab in labs for place in of_lab(root, lab)))


def main(root: Path) -> int:
    """Update all catalogs of a clone and list what is left to do.

    Returns:
        The exit code: 1 if something is left, 2 if a file cannot be read.
    """
    left = 0
    try:
        for language in LANGUAGES:
            for place in everywhere(root) if language != ENGLISH else ():
                update(place, language)
                for one in problems(place, language):
                    left = 1
                    sys.stdout.write(f"{shown(one.file)}:{one.line}: {one.what}: {one.do}\n")
    except CourseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return left


if __name__ == "__main__":
    sys.exit(main(PACKAGE.parents[1]))
