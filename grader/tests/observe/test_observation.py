"""ICR writes decoded, and the Observation as JSON and back."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import jsonschema
import pytest

from vmmlab.course.labpackage import LabPackage
from vmmlab.course.load import load_course
from vmmlab.observe.cpu import Hex
from vmmlab.observe.evidence import LabEvidence
from vmmlab.observe.icr import Icr
from vmmlab.observe.milestones import WAITING, milestones
from vmmlab.observe.observation import NUM_OF_PCPU
from vmmlab.observe.place import Place
from vmmlab.observe.schema import SCHEMA_FILE, from_json, json_schema, to_json

INIT_OTHERS, SIPI_OTHERS = 0xC4500, 0xC4600


def write(low, dest=0):
    return Icr(0, low, dest, 0.0)


@pytest.mark.parametrize(
    ("low", "kind", "shorthand", "vector"),
    [
        (INIT_OTHERS, "INIT", "all excluding self", 0),
        (SIPI_OTHERS, "SIPI", "all excluding self", 0),
        (0xC4610, "SIPI", "all excluding self", 0x10),
        (0x84600, "SIPI", "all including self", 0),
        (0x04500, "INIT", "none", 0),
        (0x88500, "INIT level de-assert", "all including self", 0),
        (0xC4400, "NMI", "all excluding self", 0),
        (0x440FD, "fixed", "self", 0xFD),
    ],
)
def test_fields_of_the_icr(low, kind, shorthand, vector):
    seen = write(low)
    assert (seen.kind, seen.shorthand, seen.vector) == (kind, shorthand, vector)


def test_numbers_of_cpus_end_where_the_vmm_says():
    header = load_course(Path(__file__).parents[3]).tree / "include" / "pcpu.h"
    said = re.search(r"#define NUM_OF_PCPU (\d+)", header.read_text(encoding="utf-8"))
    assert said is not None
    assert int(said[1]) == NUM_OF_PCPU


def test_whom_a_write_reaches():
    assert [write(INIT_OTHERS).reaches(cpu, 0) for cpu in (0, 1, 3)] == [False, True, True]
    assert [write(0x84500).reaches(cpu, 0) for cpu in (0, 1)] == [True, True]
    assert [write(0x04500, dest=2).reaches(cpu, 0) for cpu in (0, 1, 2)] == [False, False, True]
    assert [write(0x04500, dest=0xFF).reaches(cpu, 0) for cpu in (0, 1)] == [True, True]
    # A logical id is compared with LDR, which is 0 after reset.
    assert not any(write(0x04D00, dest=0b0110).reaches(cpu, 0) for cpu in (0, 1, 2, 3))
    assert write(0x44500).reaches(0, 0)
    assert not write(0x44500).reaches(1, 0)


def test_a_write_reads_well():
    assert (
        str(write(SIPI_OTHERS))
        == "SIPI, vector 0x00, to all CPUs except the sending one (ICR = 0xc4600)"
    )
    assert str(write(0x04500, dest=2)) == "INIT, to APIC id 2 (ICR = 0x04500)"


SAMPLE = Path(__file__).with_name("observation.sample.json").read_text()


def test_the_committed_schema_is_the_one_of_the_code():
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema(), "python -m vmmlab.observe.schema"


def test_the_sample_fits_the_schema_and_comes_back_unchanged():
    jsonschema.validate(json.loads(SAMPLE), json_schema())
    assert json.loads(to_json(from_json(SAMPLE))) == json.loads(SAMPLE)


def test_a_sample_with_a_wrong_value_does_not_fit():
    wrong = json.loads(SAMPLE) | {"how_ended": "well"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, json_schema())
    with pytest.raises(ValueError, match="how_ended"):
        from_json(json.dumps(wrong))


def test_the_sample_has_all_milestones():
    seen = from_json(SAMPLE)
    assert [*seen.aps[0].milestones] == [one.name for one in milestones() if one != WAITING]
    assert sum(step.counted for step in seen.aps[0].steps) == 1


# --- what a lab's own probe records --------------------------------------------------------------


@dataclass(frozen=True)
class Sleeps(LabEvidence):
    times: int
    code: Hex = b""
    cpus: tuple[int, ...] = ()
    place: Place | None = None


@dataclass(frozen=True)
class Wakes(LabEvidence):
    times: int


SLEPT = Sleeps(3, b"\xf4", (1, 2), Place(0x1000, "low"))


def test_the_evidence_of_a_lab_comes_back_as_its_own_class():
    seen = replace(from_json(SAMPLE), lab=SLEPT)
    text = to_json(seen)
    jsonschema.validate(json.loads(text), json_schema())
    assert json.loads(text)["lab"]["code"] == "f4"
    assert from_json(text, Sleeps) == seen
    assert from_json(text, Sleeps).lab == SLEPT


def test_evidence_outlives_the_modules_of_its_lab(tmp_path):
    """A recorded boot is written after its lab was unloaded, and read while it is loaded again."""
    (tmp_path / "probes.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from vmmlab.observe.evidence import LabEvidence\n"
        "from vmmlab.observe.cpu import Hex\n"
        "@dataclass(frozen=True, slots=True)\n"
        "class One:\n    code: Hex\n"
        "@dataclass(frozen=True)\n"
        "class Seen(LabEvidence):\n    by_cpu: dict[int, One]\n"
    )
    package = LabPackage("lab9", tmp_path)
    probes = package.load(tmp_path / "probes.py")
    seen = replace(from_json(SAMPLE), lab=probes.Seen({1: probes.One(b"\xf4")}))
    package.unload()
    text = to_json(seen)
    with pytest.raises(ValueError, match="needs its LabEvidence"):
        from_json(text)
    try:
        probes = package.load(tmp_path / "probes.py")
        with package.scope.in_use():
            assert from_json(text).lab == probes.Seen({1: probes.One(b"\xf4")})
    finally:
        package.unload()


def test_evidence_that_its_class_would_drop_is_refused():
    data = json.loads(to_json(replace(from_json(SAMPLE), lab=SLEPT)))
    data["lab"]["place"]["unknown"] = 1
    with pytest.raises(ValueError, match="Sleeps does not hold all that was recorded"):
        from_json(json.dumps(data), Sleeps)


def test_a_class_that_no_lab_evidence_needs_does_no_harm():
    assert from_json(SAMPLE, Sleeps).lab is None


@pytest.mark.parametrize(
    ("evidence", "lab", "said"),
    [
        (SLEPT, None, "needs its LabEvidence"),
        (SLEPT, Wakes, "Wakes has no field code, cpus, place"),
        (LabEvidence(), Wakes, "times"),
    ],
)
def test_the_evidence_of_a_lab_is_never_lost(evidence, lab, said):
    text = to_json(replace(from_json(SAMPLE), lab=evidence))
    with pytest.raises(ValueError, match=said):
        from_json(text, lab)
