"""Lets readers enlarge a picture: each one is a link to its file."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.util.osutil import relative_uri


def _link(app: Any, doctree: nodes.document, page: str) -> None:
    """Put each picture that is not in a link yet into one."""
    if app.builder.format != "html":
        return
    here = app.builder.get_target_uri(page)
    for image in list(doctree.findall(nodes.image)):
        uri = image["uri"]
        if isinstance(image.parent, nodes.reference) or uri not in app.env.images:
            continue
        target = PurePosixPath(app.builder.imagedir, app.env.images[uri][1]).as_posix()
        link = nodes.reference(
            "", "", refuri=relative_uri(here, target), internal=True, classes=["picture"]
        )
        image.replace_self(link)
        link += image


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
