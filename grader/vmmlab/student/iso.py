"""Makes an image that a PC boots from a CD or a USB stick, by BIOS or by UEFI.

A BIOS, or the "legacy boot" of UEFI firmware, starts GRUB, which starts the VMM by Multiboot
0.6.96. UEFI firmware starts the EFI loader with the VMM inside (UEFI Specification 2.10, 3.5.1.1);
a VMM that has no entry for UEFI is for a BIOS only.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
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
_CONFIG: Final = """\
set timeout=3
menuentry "{title}" {{
	# The VMM writes text: it wants no picture mode.
	set gfxpayload=text
	multiboot /boot/vmm.elf32 {title}
}}
"""


def make_iso(kernel: Path, title: str, output: Path, loader: Path | None = None) -> None:
    """Write an image for a CD or, byte by byte, for a stick.

    Args:
        kernel: an ELF32 file with a Multiboot header, as for QEMU's -kernel.
        title: the entry in GRUB's menu and the command line: letters, digits, blanks, underscores.
        output: the image; appears whole or not at all.
        loader: the EFI loader with the same VMM inside; None: the image is for a BIOS only.

    Raises:
        InfraError: a tool is missing or failed.
        UsageError: `output` cannot be written.
    """
    require(_TOOLS)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder("iso", output.parent) as work:
            grub = work / "tree" / "boot" / "grub"
            grub.mkdir(parents=True)
            (grub / "grub.cfg").write_text(_CONFIG.format(title=title))
            shutil.copyfile(kernel, work / "tree" / "boot" / "vmm.elf32")
            if loader is not None:
                system = fat_image({_EFI_PATH: loader.read_bytes()})
                (work / "tree" / _EFI_IMAGE).write_bytes(system)
            _mkrescue(work / "tree", work / "made.iso", _EFI_OPTIONS if loader else ())
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
