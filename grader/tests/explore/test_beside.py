"""What a forked process works out, and what is said when it does not."""

import os

import pytest

from vmmlab.base.errors import InfraError
from vmmlab.base.message import msg
from vmmlab.explore.beside import Beside


def test_the_result_comes_back():
    here = os.getpid()
    assert Beside(lambda: ("found", os.getppid())).result() == ("found", here)


def test_an_error_comes_back_with_its_values():
    def refuse():
        raise InfraError(msg("{name} is missing.", name="unicorn"), found="nothing")

    with pytest.raises(InfraError, match="unicorn is missing") as caught:
        Beside(refuse).result()
    assert caught.value.found == "nothing"


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda: os.kill(os.getpid(), 9), 128 + 9),
        (lambda: os._exit(7), 7),
        (lambda: {}["lost"], 1),
    ],
)
def test_a_process_that_dies_ends_this_one_in_the_same_way(end, status):
    with pytest.raises(SystemExit) as caught:
        Beside(end).result()
    assert caught.value.code == status


def test_a_result_that_nobody_needs_is_not_waited_for():
    reader, writer = os.pipe()
    other = Beside(lambda: os.read(reader, 1))  # would wait for ever
    other.drop()
    os.close(reader)
    os.close(writer)
