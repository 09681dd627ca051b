"""Makes an image that a PC boots from a CD or a USB stick, by BIOS or by UEFI.

A BIOS, or the "legacy boot" of UEFI firmware, starts GRUB, which starts the VMM by Multiboot
0.6.96. UEFI firmware starts the EFI loader with the VMM inside (UEFI Specification 2.10, 3.5.1.1);
a VMM that has no entry for UEFI is for a BIOS only.

With Linux in the image, UEFI firmware starts GRUB, which starts the loader. The loader returns, and
GRUB, a guest now, starts Linux.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vmmlab.base.errors import InfraError, UsageError, os_reason
from vmmlab.base.message import Text, msg
from vmmlab.base.scratch import scratch_folder
from vmmlab.host.tools import GRUB_MODULES, require
from vmmlab.images.fat import fat_image

_TOOLS: Final = ("grub-mkrescue", "xorriso", "grub-i386-pc")
_MODULES: Final = "normal multiboot iso9660 biosdisk part_msdos search search_fs_uuid echo"
_TIMEOUT_S: Final = 120.0
_EFI_IMAGE: Final = "efi.img"
_EFI_PATH: Final = "EFI/BOOT/BOOTX64.EFI"
_EFI_OPTIONS: Final = ("--efi-boot", _EFI_IMAGE, "-efi-boot-part", "--efi-boot-image")
"""What GRUB itself passes to xorriso where it is built for UEFI."""
_BIOS_CONFIG: Final = """\
menuentry "{title}" {{
	# The VMM writes text: it wants no picture mode.
	set gfxpayload=text
	multiboot /boot/vmm.elf32 {title}
}}
"""
_CONFIG: Final = f"set timeout=3\n{_BIOS_CONFIG}"
_CONFIG_LINUX: Final = f"""\
set timeout=3
if [ "$grub_platform" = efi ]; then
menuentry "Linux on {{title}}" {{{{
	chainloader /boot/vmm.efi
	boot
	linux /boot/vmlinuz {{options}}
	initrd /boot/initrd
}}}}
menuentry "Linux without a VMM" {{{{
	linux /boot/vmlinuz {{options}}
	initrd /boot/initrd
}}}}
else
{_BIOS_CONFIG}fi
"""
_MARK: Final = ".disk/info"
"""By this file Debian's GRUB for a CD finds the file system that has its menu."""


@dataclass(frozen=True)
class Linux:
    """What an image with Linux has, too.

    Attributes:
        grub: GRUB for UEFI and a CD, as Debian makes it: with its modules inside.
        kernel: a file that UEFI firmware starts.
        initrd: its initial file system.
        options: its command line.
    """

    grub: Path
    kernel: Path
    initrd: bytes
    options: str


def make_iso(
    kernel: Path,
    title: str,
    output: Path,
    loader: Path | None = None,
    linux: Linux | None = None,
) -> None:
    """Write an image for a CD or, byte by byte, for a stick.

    Args:
        kernel: an ELF32 file with a Multiboot header, as for QEMU's -kernel.
        title: the entry in GRUB's menu and the command line: letters, digits, blanks, underscores.
        output: the image; appears whole or not at all.
        loader: the EFI loader with the same VMM inside; None: the image is for a BIOS only.
        linux: also for the menu of UEFI firmware, if there is a loader; None: without Linux.

    Raises:
        InfraError: a tool is missing or failed.
        UsageError: `output` cannot be written.
    """
    require(_TOOLS)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder("iso", output.parent) as work:
            tree = work / "tree"
            (tree / "boot" / "grub").mkdir(parents=True)
            shutil.copyfile(kernel, tree / "boot" / "vmm.elf32")
            config, application = _CONFIG.format(title=title), loader
            if loader is not None and linux is not None:
                config = _CONFIG_LINUX.format(title=title, options=linux.options)
                application = linux.grub
                _add_linux(tree, loader, linux)
            (tree / "boot" / "grub" / "grub.cfg").write_text(config)
            if application is not None:
                system = fat_image({_EFI_PATH: application.read_bytes()})
                (tree / _EFI_IMAGE).write_bytes(system)
            _mkrescue(tree, work / "made.iso", _EFI_OPTIONS if loader else ())
            (work / "made.iso").replace(output)
    except OSError as error:
        raise UsageError(
            msg(
                "{output} cannot be written: {os_reason}.",
                output=output,
                os_reason=os_reason(error),
            ),
            next_step=msg("name another file with --output"),
        ) from None


def _add_linux(tree: Path, loader: Path, linux: Linux) -> None:
    shutil.copyfile(loader, tree / "boot" / "vmm.efi")
    shutil.copyfile(linux.kernel, tree / "boot" / "vmlinuz")
    (tree / "boot" / "initrd").write_bytes(linux.initrd)
    (tree / _MARK).parent.mkdir()
    (tree / _MARK).write_text("vmmlab\n")


def _mkrescue(tree: Path, made: Path, options: Sequence[str]) -> None:
    argv = [
        "grub-mkrescue", "-o", str(made), "--directory", str(GRUB_MODULES),
        f"--install-modules={_MODULES}", "--fonts=", "--locales=", "--themes=", str(tree),
        *options,
    ]  # fmt: skip
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        said: Text = done.stderr.strip()[-1000:]
        ok = done.returncode == 0 and made.is_file()
    except subprocess.TimeoutExpired:
        said, ok = msg("not ready after {timeout_s:g} s", timeout_s=_TIMEOUT_S), False
    if not ok:
        raise InfraError(
            msg("grub-mkrescue could not make the image."),
            found=said or msg("no reason given"),
            next_step=msg("make room on the disk, or look at `vmmlab doctor`"),
        )
