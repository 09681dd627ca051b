"""The course's secret: where it may be, who may read it, and what follows from it."""

import pytest

from vmmlab.base.errors import InfraError, UsageError
from vmmlab.course.secret import Secret, make, read

KEY = "0123456789abcdef" * 4


@pytest.fixture
def kept(tmp_path):
    make(tmp_path / "kept", None)
    return tmp_path / "kept"


def test_a_new_secret_is_for_its_owner_only_and_never_the_same(tmp_path, kept):
    assert kept.stat().st_mode & 0o777 == 0o600
    make(tmp_path / "other", None)
    assert read(kept, []) != read(tmp_path / "other", [])
    assert read(kept, []) == read(kept, [])


def test_a_secret_is_never_overwritten(kept):
    before = kept.read_text()
    with pytest.raises(UsageError, match="already exists"):
        make(kept, None)
    assert kept.read_text() == before


@pytest.mark.parametrize("mark", ["course.yml", "workspace.toml"])
def test_no_secret_in_a_course_a_release_or_a_workspace(tmp_path, kept, mark):
    inside = tmp_path / "some" / "deep" / "kept"
    inside.parent.mkdir(parents=True)
    (tmp_path / "some" / mark).write_text("")
    with pytest.raises(UsageError, match="the secret may not be in") as caught:
        make(inside, None)
    assert str(tmp_path / "some") in str(caught.value.message)
    inside.symlink_to(kept)
    assert read(inside, []), "what counts is where the file is"
    linked = tmp_path / "linked"
    (tmp_path / "some" / "real").write_bytes(kept.read_bytes())
    linked.symlink_to(tmp_path / "some" / "real")
    with pytest.raises(UsageError, match="the secret may not be in"):
        read(linked, [])


def test_no_secret_in_a_folder_that_is_named(tmp_path, kept):
    with pytest.raises(UsageError, match="the secret may not be in"):
        read(kept, [tmp_path])


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_can_read_or_write_is_refused(kept, mode):
    kept.chmod(mode)
    with pytest.raises(UsageError, match="others can read the secret") as caught:
        read(kept, [])
    assert str(caught.value.next_step) == f"chmod 600 {kept}"


@pytest.mark.parametrize("text", ["", KEY, f"vmmlab-secret-1 {KEY[1:]}\n", "vmmlab-secret-1 ü\n"])
def test_what_is_not_a_secret_is_refused_and_not_shown(kept, text):
    kept.write_text(text)
    with pytest.raises(UsageError, match=r"is not a secret|cannot be read") as caught:
        read(kept, [])
    assert KEY[:12] not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none", [])
    with pytest.raises(InfraError, match="could not be written"):
        make(tmp_path / "none" / "kept", None)


def test_seed_and_label_follow_from_secret_lab_and_round():
    one, other = Secret(KEY), Secret(KEY[::-1])
    seeds = {s.seed(lab, r) for s in (one, other) for lab in ("lab3", "lab4") for r in ("1", "2")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**62 for seed in seeds)
    assert one.seed("lab3", "1") == 144282776623195966, "it never changes"
    assert one.label("lab3", "retake").startswith("retake-")
    assert one.label("lab3", "1") != one.label("lab4", "1")


def test_a_secret_is_not_shown():
    assert KEY not in f"{Secret(KEY)!r} {Secret(KEY)}"
