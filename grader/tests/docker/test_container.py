"""The limits of a container, read from files as the kernel writes them."""

from pathlib import Path

import pytest

from vmmlab.host import container
from vmmlab.i18n.translate import Reader
from vmmlab.student import doctor

HARDENED = "Name:\tpython3\nCapPrm:\t0000000000000000\nCapBnd:\t0000000000000000\n"
HARDENED += "NoNewPrivs:\t1\nSeccomp:\t2\n"
LOOSE = "CapPrm:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t0\n"


def fill(root: Path, files: dict[str, str], *interfaces: str) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in interfaces:
        (root / "sys/class/net" / name).mkdir(parents=True)
    return root


def examine(root: Path) -> container.Confinement:
    found = container.examine(root)
    assert found is not None
    return found


def test_outside_of_a_container_nothing_is_said(tmp_path: Path) -> None:
    fill(tmp_path, {"proc/self/status": HARDENED})
    assert not container.inside(tmp_path)
    assert container.examine(tmp_path) is None


def test_podman_says_so_in_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --read-only, podman's file is hidden."""
    monkeypatch.setattr(container, "_MARKS", ("no-such-file",))
    monkeypatch.delenv("container", raising=False)
    assert not container.inside()
    monkeypatch.setenv("container", "podman")
    assert container.inside()
    assert not container.inside(tmp_path)


def test_a_hardened_one_with_control_groups_of_version_2(tmp_path: Path) -> None:
    files = {
        ".dockerenv": "",
        "proc/self/status": HARDENED,
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/pids.max": "200\n",
        "sys/fs/cgroup/memory.max": f"{1 << 30}\n",
    }
    found = examine(fill(tmp_path, files, "lo"))
    assert (found.processes, found.memory_mib) == (200, 1024)
    assert (found.capabilities, found.new_privileges, found.network) == (False, False, False)
    assert found.filtered
    assert found.root_writable, "the tests' own folder is"
    text = str(found)
    for words in ("no capabilities", "no new privileges", "system calls filtered", "no network"):
        assert words in text
    assert text.endswith("root writable, no network, at most 200 processes, 1024 MiB")


def test_one_without_any_limit(tmp_path: Path) -> None:
    files = {
        "run/.containerenv": "",
        "proc/self/status": LOOSE,
        "proc/self/cgroup": "0::/user.slice\n",
        "sys/fs/cgroup/pids.max": "max\n",
        "sys/fs/cgroup/memory.max": "max\n",
    }
    found = examine(fill(tmp_path, files, "lo", "eth0"))
    assert (found.processes, found.memory_mib) == (None, None)
    assert found.capabilities
    assert found.new_privileges
    assert found.network
    assert not found.filtered
    for words in ("system calls not filtered", "processes not limited", "memory not limited"):
        assert words in str(found)


@pytest.mark.parametrize("below", ["docker/abc", ""])
def test_control_groups_of_version_1(tmp_path: Path, below: str) -> None:
    """Either only the container's part is visible, at the top, or the whole tree, by the path."""
    top = "sys/fs/cgroup"
    files = {
        ".dockerenv": "",
        "proc/self/status": HARDENED,
        "proc/self/cgroup": "8:pids:/docker/abc\n4:cpu,memory:/docker/abc\n0::/docker/abc\n",
        f"{top}/pids/{below}/pids.max": "300\n",
        f"{top}/memory/{below}/memory.limit_in_bytes": f"{256 << 20}\n",
        f"{top}/cpu/{below}/pids.max": "1\n",
    }
    found = examine(fill(tmp_path, files))
    assert (found.processes, found.memory_mib) == (300, 256)


def test_no_limit_in_version_1_is_a_large_number(tmp_path: Path) -> None:
    files = {
        ".dockerenv": "",
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert examine(fill(tmp_path, files)).memory_mib is None


def test_the_lowest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    files = {
        ".dockerenv": "",
        "proc/self/cgroup": "0::/outer/inner\n",
        "sys/fs/cgroup/outer/pids.max": "50\n",
        "sys/fs/cgroup/outer/inner/pids.max": "200\n",
    }
    assert examine(fill(tmp_path, files)).processes == 50


def test_where_the_kernel_says_nothing_nothing_is_claimed(tmp_path: Path) -> None:
    found = examine(fill(tmp_path, {".dockerenv": "", "proc/self/status": "CapBnd:\tzz\n"}))
    assert found.capabilities
    assert found.new_privileges
    assert not found.filtered


def test_doctor_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    around = container.Confinement(0, True, True, False, True, True, None, None)
    monkeypatch.setattr(container, "examine", lambda: around)
    text = "\n".join(doctor.lines(doctor.examine()))
    assert "ok      container" in text
    assert "root, capabilities, may gain privileges, system calls not filtered" in text
    text = "\n".join(doctor.lines(doctor.examine(), Reader("ja")))
    assert "root、ケーパビリティあり、権限を得られる、システムコールのフィルタなし" in text
    monkeypatch.setattr(container, "examine", lambda: None)
    assert "container" not in "\n".join(doctor.lines(doctor.examine()))
