"""Writes a release's course.yml, without the names of hidden checks and of students."""

from __future__ import annotations

import json
import re
from typing import Any

from vmmlab.base import yamlfile
from vmmlab.base.errors import CourseError
from vmmlab.base.message import Text, msg
from vmmlab.course.deadlines import EXTENSIONS
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.ids import HIDDEN_TOPIC
from vmmlab.course.model import Course


def course_text(course: Course, cohort: str, until: str = "", *, hidden: bool = False) -> str:
    """Return course.yml without extensions and, but for self-study, the names of hidden checks.

    Its comments stay.

    Args:
        course: the instructor's course.
        cohort: the name of the course's own cohort in the release.
        until: the last lab that is open in the release; "": all are.
        hidden: keep the hidden checks.

    Raises:
        CourseError: it cannot be read, or names a hidden check in a place that has to stay.
    """
    file = yamlfile.read(course.root / COURSE_FILE)
    begins = {
        file.line(("labs", lab.name, HIDDEN_TOPIC)): HIDDEN_TOPIC
        for lab in course.labs.values()
        if lab.hidden and not hidden
    }
    if course.deadlines and course.deadlines.extensions:
        begins[file.line(("deadlines", EXTENSIONS))] = EXTENSIONS
    lines: list[str] = []
    inside = -1  # the indentation of the key whose block is being left out
    for number, line in enumerate(file.path.read_text(encoding="utf-8").split("\n"), 1):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent <= inside:
            inside = -1
        key = begins.get(number)
        if key and re.match(rf"[\"']?{key}[\"']?\s*:", line.lstrip()):
            inside = indent
        elif inside < 0 or not line.strip():
            lines.append(line)
    if lines[-1]:
        lines.append("")
    made = "\n".join(lines)
    line = f"cohort: {_as_text(cohort)}"
    if re.search(r"^cohort:", made, re.MULTILINE):
        made = re.sub(r"^cohort:.*$", lambda _: line, made, count=1, flags=re.MULTILINE)
    else:
        made = re.sub(
            r"^title:.*$", lambda at: f"{at[0]}\n{line}", made, count=1, flags=re.MULTILINE
        )
    changed = {"cohort": cohort}
    if until:
        made = re.sub(r"^(cohort:.*)$", rf"\1\nuntil: {until}", made, count=1, flags=re.MULTILINE)
        changed["until"] = until
    for lab in course.labs.values() if not hidden else ():
        for line in made.split("\n"):
            if any(check in line for check in lab.hidden):
                raise _not_to_be_cut(msg("a hidden check is named in {line!r}", line=line.strip()))
    if not _same_but_for_hidden(made, file.data, changed, hidden=hidden):
        raise _not_to_be_cut(msg("without these lines the file would have another meaning"))
    return made


def _as_text(name: str) -> str:
    """Return a name as YAML reads it as text: 2026, 1e3, null and others only in quotes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        plain = name[:1].isalpha() and YAML(typ="safe").load(name) == name
    except YAMLError:
        plain = False
    return name if plain else json.dumps(name, ensure_ascii=False)


def _not_to_be_cut(found: Text) -> CourseError:
    return CourseError(
        msg("{course_file}: something cannot be left out.", course_file=COURSE_FILE),
        expected=msg(
            "hidden checks named only below `{hidden}`, extensions only below `{extensions}`, "
            "each key and its entries on lines of their own",
            hidden=HIDDEN_TOPIC,
            extensions=EXTENSIONS,
        ),
        found=found,
    )


def _same_but_for_hidden(made: str, data: Any, changed: dict[str, str], *, hidden: bool) -> bool:
    """Return whether a released course.yml equals the instructor's without what is left out."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    labs = {
        name: {key: value for key, value in lab.items() if hidden or key != HIDDEN_TOPIC}
        for name, lab in data["labs"].items()
    }
    left = {**data, **changed, "labs": labs}
    if "deadlines" in data:
        left["deadlines"] = {k: v for k, v in data["deadlines"].items() if k != EXTENSIONS}
    try:
        return bool(YAML(typ="safe").load(made) == left)
    except YAMLError:
        return False
