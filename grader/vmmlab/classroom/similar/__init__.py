"""Pairs of submissions that are alike after renaming: a place to look, not a verdict.

The comparison is that of the library copydetect: tokens by Pygments, then fingerprints (Schleimer,
Wilkerson, Aiken: Winnowing, SIGMOD 2003). Code of the starter is left out.
"""

from vmmlab.classroom.similar.compare import Source, compared
from vmmlab.classroom.similar.model import Alike, Side
from vmmlab.classroom.similar.page import page

__all__ = ["Alike", "Side", "Source", "compared", "page"]
