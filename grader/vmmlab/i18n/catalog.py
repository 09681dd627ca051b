"""gettext catalogs: `FOLDER/locale/LANGUAGE.po`, compiled by Babel when they are first read.

The package has one, each lab has one, and so have a lab's hidden checks, so that a release without
`hidden/` is without their texts too. The compiled form is kept in the user's cache under the hash
of the text it was made from: an edited catalog is a new entry, and a warm start loads no Babel.
"""

from __future__ import annotations

import contextlib
import gettext
import hashlib
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmmlab.base.errors import CourseError
from vmmlab.base.files import cache_dir, write_atomically
from vmmlab.base.message import msg
from vmmlab.base.yamlfile import shown

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

_COMPILED: Final = "catalogs"
_FORMAT: Final = b"1"
"""Raise it when the compiled form changes."""
_KEPT: Final = 40
"""Compiled catalogs that are kept; the oldest ones go."""


def po_file(folder: Path, language: str) -> Path:
    """Return where the catalog of a folder is.

    Args:
        folder: of the package, of a lab, or of a lab's hidden checks.
        language: such as `ja`.
    """
    return folder / "locale" / f"{language}.po"


class Catalogs:
    """Several catalogs of one language; the first one that knows a text wins.

    Args:
        language: such as `ja`.
        folders: where to look for catalogs; a folder without one is passed over.

    Raises:
        CourseError: a catalog cannot be read.
    """

    def __init__(self, language: str, folders: Sequence[Path]) -> None:
        found = (_load(po_file(folder, language)) for folder in folders)
        self._catalogs = tuple(one for one in found if one is not None)

    def find(self, text: str, plural: str = "", count: int = 1) -> str | None:
        """Return the translation of a source text, or None if no catalog has one.

        Args:
            text: the source text.
            plural: its plural form, "" if it has none.
            count: the number that selects the form.
        """
        for one in self._catalogs if text else ():
            found = one.ngettext(text, plural, count) if plural else one.gettext(text)
            # The very object that went in comes back if it is not known.
            if found and found is not text and found is not plural:
                return found
        return None

    def find_label(self, word: str) -> str | None:
        """Return the translation of a word in the context `label`, or None."""
        for one in self._catalogs if word else ():
            found = one.pgettext("label", word)
            if found and found is not word:
                return found
        return None


def _load(path: Path) -> gettext.GNUTranslations | None:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        what = msg(
            "{where}: cannot be read: {error}.", where=shown(path), error=str(error.strerror)
        )
        raise CourseError(what) from None
    key = hashlib.sha256(_FORMAT + source).hexdigest()
    try:
        compiled: Path | None = cache_dir() / _COMPILED / f"{key[:40]}.mo"
    except RuntimeError:  # no home directory
        compiled = None
    if compiled is not None:
        with contextlib.suppress(OSError, ValueError, struct.error):  # not there, or damaged
            return gettext.GNUTranslations(io.BytesIO(compiled.read_bytes()))
    data = _compiled(parsed(path, source))
    if compiled is not None:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time only
            _keep(compiled, data)
    return gettext.GNUTranslations(io.BytesIO(data))


def parsed(path: Path, source: bytes) -> Catalog:
    """Return the catalog that a file holds, as Babel has it.

    Args:
        path: its name: of the language, and for errors.
        source: its content.

    Raises:
        CourseError: it is no catalog.
    """
    from babel.messages.pofile import PoFileError, read_po

    try:
        return read_po(io.BytesIO(source), locale=path.stem, abort_invalid=True)
    except PoFileError as error:
        place = f"{shown(path)}:{error.lineno + 1}"
        raise CourseError(msg("{where}: {what}.", where=place, what=str(error.args[0]))) from None
    except UnicodeDecodeError:
        raise CourseError(msg("{where}: this is not UTF-8 text.", where=shown(path))) from None


def _compiled(catalog: Catalog) -> bytes:
    from babel.messages.mofile import write_mo

    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    for old in sorted(path.parent.glob("*.mo"), key=lambda one: -one.stat().st_mtime)[_KEPT:]:
        old.unlink(missing_ok=True)
