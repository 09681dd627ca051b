"""The operating systems to try a VMM with, each from a Debian package.

What is said here of Linux holds for any kernel of Debian's: everything it needs is built in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from vmmlab.base.errors import UsageError
from vmmlab.base.message import msg
from vmmlab.images.cpio import initramfs
from vmmlab.images.packages import Wanted

ASK: Final = "guest/linux_vmmcall.S"
"""A program for Linux that asks the VMM; given code of a VMM."""
_READY: Final = "Linux counts {cpus} processors"
SHELL: Final = "vmmlab.shell"
"""In Linux's command line: stay in a shell instead of powering off."""
_PT_INTERP: Final = 3


def _is_kernel(head: bytes) -> bool:
    """Return whether a file begins as a kernel for x86 that UEFI firmware starts.

    Documentation/arch/x86/boot.rst in Linux: the magic at 0x202, `xloadflags` at 0x236.
    """
    return (
        head[:2] == b"MZ"
        and len(head) > 0x236
        and head[0x202:0x206] == b"HdrS"
        and bool(head[0x236] & 1)
    )


def _is_application(head: bytes) -> bool:
    return head[:2] == b"MZ"


def is_static(head: bytes) -> bool:
    """Return whether a file is a program for x86_64 that needs no other file.

    System V ABI, chapters 4 and 5: the program headers name no interpreter.
    """
    if head[:5] != b"\177ELF\2" or len(head) < 64:
        return False
    (at,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    starts = range(at, at + size * count, size or 1)
    return all(
        start + 4 <= len(head) and struct.unpack_from("<I", head, start)[0] != _PT_INTERP
        for start in starts
    )


BUSYBOX: Final = Wanted(
    package="busybox-static",
    holder="busybox-static",
    member=r"\./(usr/)?bin/busybox",
    installed="bin/busybox",
    usable=is_static,
)
GRUB: Final = Wanted(
    package="grub-efi-amd64-signed",
    holder="grub-efi-amd64-signed",
    member=r"\./usr/lib/grub/x86_64-efi-signed/gcdx64\.efi\.signed",
    installed="usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed",
    usable=_is_application,
)
"""GRUB for UEFI firmware and a CD. No Secure Boot: the VMM has no signature."""


@dataclass(frozen=True)
class System:
    """An operating system.

    Attributes:
        name: what a command calls it.
        title: what a reader is told.
        kernel: the file that UEFI firmware starts.
        options: its command line.
        ready: what it prints when it has started all processors; "{cpus}" stands for their number.
        initrd: whether it has an initial file system.
        screen: whether it needs a screen, even if it is not looked at.
        memory_mib: memory of the machine, MiB.
        ends: whether it powers the machine off.
    """

    name: str
    title: str
    kernel: Wanted
    options: str
    ready: str
    initrd: bool = False
    screen: bool = False
    memory_mib: int = 512
    ends: bool = True


LINUX: Final = System(
    name="linux",
    title="Linux",
    kernel=Wanted(
        package="linux-image-cloud-amd64",
        holder=r"linux-image-\d[\w.+~-]*-amd64",
        member=r"\./boot/vmlinuz-.*",
        installed="boot/vmlinuz-*-amd64",
        usable=_is_kernel,
    ),
    options="console=ttyS0 panic=-1",
    ready=_READY,
    initrd=True,
)
_MEMTEST: Final = System(
    name="memtest86+",
    title="memtest86+",
    kernel=Wanted(
        package="memtest86+",
        holder=r"memtest86\+",
        member=r"\./boot/(memtest86\+x64\.efi|mt86\+x64)",
        installed="boot/memtest86+x64.efi",
        usable=_is_application,
    ),
    options="console=ttyS0,115200 nopause nobench",
    ready="SMP: {cpus}T",
    screen=True,
    memory_mib=128,
    ends=False,
)
_ALL: Final = {one.name: one for one in (LINUX, _MEMTEST)}


def find(name: str) -> System:
    """Return an operating system.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in _ALL:
        raise UsageError(msg("there is no guest {name!r}.", name=name), expected=" or ".join(_ALL))
    return _ALL[name]


_INIT: Final = f"""\
#!/bin/busybox sh
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
echo
busybox uname -a
cpus=$(busybox nproc)
echo "{_READY.format(cpus="$cpus")}"
cpu=0
while [ $cpu -lt $cpus ]; do
	busybox taskset -c $cpu /vmmcall 2>/dev/null
	case $? in
	132) echo "CPU $cpu: there is no VMM below" ;;
	255) echo "CPU $cpu: the VMM does not know the question" ;;
	*) echo "CPU $cpu of Linux is processor $? of the VMM" ;;
	esac
	cpu=$((cpu + 1))
done
/vmmcall exits 2>/dev/null
if busybox grep -qw {SHELL} /proc/cmdline; then
	busybox --install -s /bin
	echo "'exit' powers off"
	PATH=/bin HOME=/ busybox setsid busybox cttyhack busybox sh
fi
busybox poweroff -f
"""
"""The first program of Linux, a script."""


def initial_files(busybox: bytes, ask: bytes) -> bytes:
    """Return the initial file system of Linux.

    Args:
        busybox: a busybox that needs no other file.
        ask: the program made of `ASK`.
    """
    files = {"init": _INIT.encode(), "bin/busybox": busybox, "vmmcall": ask}
    return initramfs(files, ("dev", "proc", "sys"))
