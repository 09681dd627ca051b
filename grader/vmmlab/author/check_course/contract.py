"""The contract of a lab: sentences without a check, checks without a sentence, and the Japanese."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vmmlab.author.check_course.finding import Forgotten, of_error, text_of
from vmmlab.base import yamlfile
from vmmlab.base.errors import VmmlabError
from vmmlab.base.message import msg
from vmmlab.course.comments import translatable
from vmmlab.course.contract import (
    CONTRACT_FILE,
    Clause,
    CommentClauses,
    Contract,
    contracts,
    differing_paragraphs,
    read,
)
from vmmlab.course.find import COURSE_FILE
from vmmlab.course.markup import Region, regions, starter_text
from vmmlab.course.model import Course, Lab

_SHOWN: Final = 60


def in_contract(course: Course, lab: Lab) -> Iterator[Forgotten]:
    """Yield the sentences and checks that belong to nothing, and where the Japanese differs."""
    file = f"labs/{lab.name}/{CONTRACT_FILE}"
    path = course.root / file
    if not path.is_file():
        if lab.files:
            yield Forgotten(
                file,
                0,
                msg("no sentence of the contract has an id"),
                msg("give an id to each sentence of the contract, and name its checks"),
            )
        return
    try:
        told = read(path, lab.name)
        starters = {
            name: starter_text(text_of(course, f"reference/{name}") or "", path=name)
            for name in lab.files
        }
    except VmmlabError as error:
        yield of_error(error, file)
        return
    marked = [part for name in lab.files for part in _regions(course, name)]
    yield from _titles(lab, marked)
    known = {(one.file, one.about): one for one in told}
    for name, starter in starters.items():
        reference = text_of(course, f"reference/{name}") or ""
        for contract in contracts(starter, lab.symbols[name]):
            about = known.pop((name, contract.about), None)
            line = reference.count("\n", 0, reference.find(contract.text)) + 1
            yield from _sentences(file, (f"reference/{name}", line), contract, about)
        if course.in_japanese:
            yield from _japanese(course, lab, name, starter)
    for unused in known.values():
        yield Forgotten(
            file,
            unused.line,
            msg("{file} has no comment above {name}", file=unused.file, name=unused.about),
            msg("remove this, or write the comment"),
        )
    yield from _checks(lab, file, [clause for one in told for clause in one.clauses])


def _regions(course: Course, name: str) -> tuple[Region, ...]:
    file = f"reference/{name}"
    return regions(text_of(course, file) or "", path=file)


def _titles(lab: Lab, marked: Sequence[Region]) -> Iterator[Forgotten]:
    """Yield the steps whose title no TODO of the starter has."""
    titled = {part.step for part in marked if part.titled}
    for step in lab.steps:
        if step.id not in titled and any(part.step == step.id for part in marked):
            yield Forgotten(
                f"reference/{step.file}",
                next(part.begin for part in marked if part.step == step.id),
                msg("no TODO of {step} has the title that course.yml gives it", step=step.id),
                msg("leave the line TODO({step}): empty; the title is filled in", step=step.id),
            )


def _sentences(
    file: str, place: tuple[str, int], contract: Contract, told: CommentClauses | None
) -> Iterator[Forgotten]:
    """Compare the sentences of a comment, which begins at `place`, with the entries for it."""
    clauses = told.clauses if told else ()
    places: list[int] = []
    for clause in clauses:
        says = " ".join(clause.says.split())
        fits = [at for at, one in enumerate(contract.sentences) if one.startswith(says)]
        if len(fits) == 1 and fits[0] not in places:
            places += fits
            continue
        yield Forgotten(
            file,
            clause.line,
            msg("{id}: no sentence begins like this", id=clause.id)
            if not fits
            else msg("{id}: this sentence has two ids", id=clause.id)
            if len(fits) == 1
            else msg("{id}: several sentences begin like this", id=clause.id),
            msg("take the beginning of a sentence of the comment above {name}", name=contract.about)
            if len(fits) != 1
            else msg("keep one of the two"),
            found=says,
        )
    if told and places != sorted(places):
        yield Forgotten(
            file,
            told.line,
            msg("{name}: the sentences are in another order than in the comment", name=told.about),
            msg("put them into the order of the comment"),
        )
    for at, sentence in enumerate(contract.sentences):
        if at not in places:
            yield Forgotten(
                *place,
                msg(
                    "{about}: this sentence of the contract has no id: {sentence}",
                    about=contract.about or msg("a comment above no function of course.yml"),
                    sentence=_short(sentence),
                ),
                msg("add it to {file} with the checks that judge it", file=file),
            )


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= _SHOWN else f"{sentence[:_SHOWN].rstrip()}…"


def _checks(lab: Lab, file: str, clauses: Sequence[Clause]) -> Iterator[Forgotten]:
    """Compare the checks that the clauses name with those of course.yml."""
    checks = {**lab.all_checks, **lab.hidden}
    for clause in clauses:
        for check_id in clause.judged_by:
            if check_id not in checks:
                yield Forgotten(
                    file,
                    clause.line,
                    msg("{id}: course.yml has no check {check}", id=clause.id, check=check_id),
                    msg("name a check of this lab"),
                )
    named = {check_id for clause in clauses for check_id in clause.judged_by}
    for check_id, check in checks.items():
        if check.points and check_id not in named:
            yield Forgotten(
                COURSE_FILE,
                lab.check_lines[check_id],
                msg("{check} judges no sentence of the contract", check=check_id),
                msg("write the sentence, and name the check beside it in {file}", file=file),
            )


def _japanese(course: Course, lab: Lab, name: str, starter: str) -> Iterator[Forgotten]:
    """Yield the paragraphs of the Japanese contracts that have another number of sentences."""
    file = f"reference/{lab.name}/contracts.ja.yml"
    try:
        catalog = yamlfile.read(course.root / file)
    except VmmlabError:
        return  # another part of this package reports it
    entries = catalog.data.get(name) if isinstance(catalog.data, Mapping) else None
    english = translatable(starter)
    if not isinstance(entries, list) or len(entries) != len(english):
        return  # as above
    for number, (comment, entry) in enumerate(zip(english, entries, strict=True)):
        if comment.step or not isinstance(entry, Mapping) or not {"of", "text"} <= entry.keys():
            continue
        for paragraph, one, other in differing_paragraphs(comment, str(entry["text"])):
            yield Forgotten(
                file,
                catalog.line((name, number)),
                msg(
                    "{of}, paragraph {number}: the Japanese has other sentences than the English",
                    of=str(entry["of"]),
                    number=paragraph,
                ),
                msg("say the same in the same sentences, in the same order"),
                expected=msg("{count} sentences", count=one),
                found=str(other),
            )
