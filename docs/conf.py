"""The book: one Sphinx project for two languages, built once for each.

The source folder is the root of the clone. Handouts are therefore read in place, and their links to
other files of the clone work both in the clone and in the book. `-t ja` builds the Japanese book;
without it, the English book is built. `make book` builds both.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

JAPANESE = tags.has("ja")  # type: ignore[name-defined]  # noqa: F821

project = "vmmlab"
author = "the authors of vmmlab"
copyright = "the authors of vmmlab"
language = "ja" if JAPANESE else "en"
html_title = "VMM がプロセッサを起こすまで" if JAPANESE else "A VMM wakes its processors"
html_short_title = "vmmlab"

extensions = ["myst_parser", "twins", "japanese", "terms", "pictures", "accessible"]
# Terms of the glossary that are also everyday words.
terms_not_linked = ["cause", "check", "step", "frame", "lock", "contract", "原因"]
root_doc = "docs/index.ja" if JAPANESE else "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = (
    ["docs/*.ja.md", "labs/*/README.ja.md"] if JAPANESE else ["docs/*.md", "labs/*/README.md"]
)
exclude_patterns = [
    ".*",
    "build",
    "dist",
    "docker",
    "grader",
    "reference",
    "vmm-skeleton",
    "docs/_*",
    *([] if JAPANESE else ["**/*.ja.md"]),
]

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline", "attrs_block"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True

templates_path = ["_templates"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {
        "code-font-size": "0.75rem",
        # Japanese: fonts in which a full-width character is as wide as two half-width ones.
        "font-stack--monospace": "'BIZ UDGothic', 'Noto Sans Mono CJK JP', 'MS Gothic', "
        "'Osaka-Mono', monospace"
        if JAPANESE
        else "'SFMono-Regular', Menlo, Consolas, Monaco, 'DejaVu Sans Mono', 'Liberation Mono', "
        "monospace",
    },
}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
highlight_language = "none"
