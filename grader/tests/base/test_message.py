"""Messages: source text, named values, and how both become one text."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from vmmlab.base.message import Message, Text, listed, msg, nmsg, shown
from vmmlab.base.messagedata import TextData

JAPANESE = {
    "CPU {cpu} reads {address:#x}": "CPU {cpu} が {address:#x} を読む",
    "{first} before {second}": "{second} より {first} が先",
    "{count} CPUs wait": "{count} 個の CPU が待つ",
    "long mode": "ロングモード",
    "in {mode}": "{mode}で",
    ", ": "、",
}


def japanese(text: str, plural: str, count: int) -> str:
    return JAPANESE.get(plural or text, text)


@pytest.mark.parametrize(
    ("text", "english", "translated"),
    [
        (
            msg("CPU {cpu} reads {address:#x}", cpu=2, address=0x10480),
            "CPU 2 reads 0x10480",
            "CPU 2 が 0x10480 を読む",
        ),
        (msg("{first} before {second}", first="a", second="b"), "a before b", "b より a が先"),
        (msg("in {mode}", mode=msg("long mode")), "in long mode", "ロングモードで"),
        (msg("in {mode}", mode=Path("a/b")), "in a/b", "a/bで"),
        (msg("in {mode}", mode="long mode"), "in long mode", "long modeで"),
        (msg("long mode"), "long mode", "ロングモード"),
        (Message("a { that no field is"), "a { that no field is", "a { that no field is"),
        (nmsg("a CPU waits", "{count} CPUs wait", count=1), "a CPU waits", "1 個の CPU が待つ"),
        (nmsg("a CPU waits", "{count} CPUs wait", count=3), "3 CPUs wait", "3 個の CPU が待つ"),
        (listed([1, msg("long mode"), "{x}"]), "1, long mode, {x}", "1、ロングモード、{x}"),
        (listed(["a", "b"], "; "), "a; b", "a; b"),
        (listed([]), "", ""),
        (msg("in {mode}", mode=listed(["a", "b"])), "in a, b", "a、bで"),
        ("long mode", "long mode", "long mode"),
    ],
)
def test_a_text_in_two_languages(text: Text, english: str, translated: str) -> None:
    assert str(text) == f"{text}" == english
    assert shown(text, japanese) == translated


def test_values_are_not_read_as_source_text() -> None:
    assert (
        str(msg("{first} before {second}", first="{second}", second="{}")) == "{second} before {}"
    )


def test_a_field_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        str(msg("CPU {cpu} reads {address:#x}", cpu=2))


def test_equal_messages_are_one_key() -> None:
    one = msg("in {mode}", mode=listed([msg("long mode")]))
    assert {one: 1, msg("in {mode}", mode=listed([msg("long mode")])): 2} == {one: 2}
    assert pickle.loads(pickle.dumps(one)) == one


class Form(BaseModel):
    """A record with a text."""

    text: TextData


def test_a_text_that_was_read_before_is_the_same_and_its_neighbour_is_not() -> None:
    """What is remembered of texts that were read is told apart by value and by type."""
    for value in (1, 1.0, True, "1", 2, 1):
        data = {"text": {"message": "{n!r}", "values": {"n": value}, "text": ""}}
        assert str(Form.model_validate(data).text) == repr(value)
    assert Form.model_validate(data).text is Form.model_validate(data).text


def test_a_text_that_cannot_be_read_is_refused_every_time() -> None:
    for _ in range(2):
        with pytest.raises(ValidationError, match="no value for the field"):
            Form.model_validate({"text": {"message": "{n}", "values": {"m": 1}, "text": ""}})
