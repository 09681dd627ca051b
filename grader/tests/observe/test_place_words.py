"""Places that probes watch have words in every language."""

import json
import lzma
from pathlib import Path

import pytest

from vmmlab.i18n.translate import OWN_CATALOGS, Reader
from vmmlab.observe.icr import kind_text
from vmmlab.probes.placewords import is_symbol, place_words

ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "grader" / "tests" / "replay" / "recorded"
LABS = sorted((ROOT / "labs").glob("lab*"))


def places() -> set[tuple[str, str]]:
    """Return lab and place of everything that was recorded of the reference."""
    found = set()
    for lab in LABS:
        path = RECORDED / f"{lab.name}.json.xz"
        if path.is_file():
            text = lzma.decompress(path.read_bytes())
            found |= {(lab.name, one) for one in _places(json.loads(text))}
    return found


def _places(data: object) -> set[str]:
    if isinstance(data, list):
        return {place for one in data for place in _places(one)}
    if not isinstance(data, dict):
        return set()
    own = {hit["place"] for hit in data.get("hits") or () if isinstance(hit, dict)}
    return own | {place for one in data.values() for place in _places(one)}


def test_each_place_that_is_no_symbol_has_words() -> None:
    named = {(lab, one) for lab, one in places() if not is_symbol(one)}
    assert len(named) > 10
    for lab, one in sorted(named):
        say = Reader("ja", (OWN_CATALOGS,)).of(ROOT / "labs" / lab)
        assert place_words(one, say) != one or one.isupper(), (lab, one)


@pytest.mark.parametrize("place", ["ap_entry", "vmm_parked", "panic", "initfunc_probe_00"])
def test_a_symbol_stays_as_it_is(place: str) -> None:
    assert place_words(place, Reader("ja")) == place


def test_a_function_that_has_returned() -> None:
    assert place_words("alloc returned", Reader()) == "alloc has returned"
    assert place_words("alloc returned", Reader("ja")) == "alloc から戻った"


def test_kinds_of_ipis() -> None:
    say = Reader("ja")
    assert [say(kind_text(one)) for one in ("fixed", "INIT")] == ["固定", "INIT"]
