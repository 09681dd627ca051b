"""Settings of Sphinx for the manual page, which `make man` makes of the help of the commands."""

from vmmlab import __version__

project = "vmmlab"
version = release = __version__
extensions = ["myst_parser"]
root_doc = "vmmlab"
man_pages = [("vmmlab", "vmmlab", "write the bring-up of a real x86 VMM, and grade it", [], 1)]
