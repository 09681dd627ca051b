"""The directories that a sandbox must bind for a tool outside of the system's own."""

from pathlib import Path

import pytest

from vmmlab.host import toolroots


@pytest.mark.parametrize(
    ("tool", "roots"),
    [
        ("/usr/bin/no-such-compiler", []),
        ("/usr/local/bin/qemu-system-x86_64", ["/usr/local"]),
        ("/usr/local/qemu/bin/qemu-system-x86_64", ["/usr/local/qemu"]),
        ("/opt/qemu/qemu-system-x86_64", ["/opt/qemu"]),
        ("/nix/store/abc-qemu/bin/qemu-system-x86_64", ["/nix/store"]),
    ],
)
def test_roots(tool: str, roots: list[str]) -> None:
    assert toolroots.roots(Path(tool)) == [Path(one) for one in roots]


def test_a_link_from_the_system_leads_to_its_target(tmp_path: Path) -> None:
    real = tmp_path / "tools" / "bin" / "qemu"
    real.parent.mkdir(parents=True)
    real.touch()
    link = tmp_path / "qemu"
    link.symlink_to(real)
    assert toolroots.roots(link) == [tmp_path, tmp_path / "tools"]
