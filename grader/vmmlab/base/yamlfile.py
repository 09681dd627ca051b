"""A YAML file of the course: its data, and the line of each key.

Knows nothing of what the files mean; the reader of a file checks its content.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmmlab.base.errors import CourseError, os_reason
from vmmlab.base.message import msg

Loc = Sequence[str | int]


@dataclass(frozen=True)
class YamlFile:
    """One file that was read.

    Attributes:
        path: where it is.
        data: builtin dicts, lists and scalars; None for an empty file.
    """

    path: Path
    data: Any
    _root: Any

    @property
    def shown(self) -> str:
        """The path as the user would type it."""
        return shown(self.path)

    def line(self, loc: Loc) -> int:
        """Return the line (from 1) of the key or list item at `loc`, or of the nearest one."""
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        node, line = self._root, 0
        for part in loc:
            if isinstance(node, MappingNode):
                found = [pair for pair in node.value if pair[0].value == str(part)]
                if not found:
                    break
                line, node = found[0][0].start_mark.line, found[0][1]
            elif isinstance(node, SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    break
                node = node.value[part]
                line = node.start_mark.line
            else:
                break
        return int(line) + 1


def read(path: Path) -> YamlFile:
    """Read a YAML file.

    Raises:
        CourseError: it cannot be read, or is not YAML; the message names the line.
    """
    # Imported here: it takes 25 ms, and not every command reads a file.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    name = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(msg("{name}: there is no such file.", name=name)) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CourseError(
            msg("{name}:{line}: this is not UTF-8 text.", name=name, line=line)
        ) from None
    except OSError as error:
        reason = os_reason(error)
        raise CourseError(
            msg("{name}: cannot be read: {reason}.", name=name, reason=reason)
        ) from None
    yaml = YAML(typ="safe")  # by libyaml, in C, where that is installed: a tenth of the time
    try:
        root = yaml.compose(text)
        data = None if root is None else yaml.constructor.construct_document(root)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(str(error.problem or error.context).split())
        if problem.startswith("found duplicate key"):
            problem = problem.split(" with value")[0]
            next_step = msg("keep one of the two")
        else:
            next_step = msg("fix the YAML on this line or just before it")
        where = f"{name}:{mark.line + 1 if mark else 1}"
        raise CourseError(f"{where}: {problem}.", next_step=next_step) from None
    except YAMLError as error:
        raise CourseError(f"{name}:1: {' '.join(str(error).split())}.") from None
    return YamlFile(path, data, root)


def shown(path: Path) -> str:
    """Return the path as the user would type it: relative if it is below the working directory."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
