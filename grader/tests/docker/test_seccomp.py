"""The grader's seccomp profile: whole, tight, and no wider than the sandbox needs."""

import ctypes.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROFILE = ROOT / "docker" / "seccomp-grader.json"
PAGE = (ROOT / "docs" / "containers.md").read_text()

# System calls that Docker's default profile keeps from a container without capabilities, or lets
# through with certain arguments only (its documentation, "Seccomp security profiles for Docker",
# the table of blocked system calls, and the newer kin of those).
GUARDED = {
    "_sysctl", "acct", "add_key", "bpf", "clock_settime", "clone", "clone3", "create_module",
    "delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
    "get_kernel_syms", "get_mempolicy", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount",
    "move_pages", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open",
    "personality", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "ptrace", "query_module", "quotactl", "quotactl_fd", "reboot",
    "request_key", "set_mempolicy", "set_mempolicy_home_node", "setdomainname", "sethostname",
    "setns", "settimeofday", "socket", "stime", "swapoff", "swapon", "sysfs", "syslog",
    "umount", "umount2", "unshare", "uselib", "userfaultfd", "ustat", "vhangup", "vm86",
    "vm86old",
}  # fmt: skip
FOR_THE_SANDBOX = {"clone", "mount", "pivot_root", "umount2"}
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; clone(2), linux/sched.h.
ALL_NAMESPACES = (
    0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
)
SOCKETS = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK"}  # socket(2)

KEYS = {"comment", "names", "action", "args", "errnoRet"}
OPERATIONS = {"SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ"}


def allowed(profile: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The rules that let a system call through, by its name."""
    found: dict[str, list[dict[str, Any]]] = {}
    for rule in profile["syscalls"]:
        if rule["action"] == "SCMP_ACT_ALLOW":
            for name in rule["names"]:
                found.setdefault(name, []).append(rule)
    return found


def lets_through(profile: dict[str, Any], name: str, first: int) -> bool:
    """Whether a call with this first argument passes, as libseccomp compares."""
    for rule in allowed(profile).get(name, ()):
        tests = rule.get("args", [])
        assert all(one["index"] == 0 for one in tests)
        if all(
            first == one["value"]
            if one["op"] == "SCMP_CMP_EQ"
            else first & one["value"] == one["valueTwo"]
            for one in tests
        ):
            return True
    return False


def mistakes(profile: dict[str, Any]) -> list[str]:
    """What is malformed, or wider than it may be."""
    found = []
    if profile["defaultAction"] != "SCMP_ACT_ERRNO":
        found.append(f"whatever is not named: {profile['defaultAction']}")
    if profile["archMap"] != [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}]:
        found.append("another architecture's system calls")
    for rule in profile["syscalls"]:
        if set(rule) - KEYS or not {"comment", "names", "action"} <= set(rule):
            found.append(f"a rule with {sorted(rule)}")
        if rule["names"] != sorted(set(rule["names"])):
            found.append(f"not in order, or twice: {rule['names'][:3]}")
        for one in rule.get("args", []):
            if one["op"] not in OPERATIONS or one["index"] != 0:
                found.append(f"a comparison with {one}")
    rules = allowed(profile)
    found += [f"{name}: twice" for name, all_of in rules.items() if len(all_of) > 1 and not all(
        "args" in rule for rule in all_of
    )]  # fmt: skip
    wide = (set(rules) & GUARDED) - FOR_THE_SANDBOX - {"socket"}
    found += [f"{name} is let through" for name in sorted(wide)]
    for family in range(64):
        if lets_through(profile, "socket", family) != (family in SOCKETS):
            found.append(f"socket({family})")
    for bits in range(1 << 7):
        flags = sum(bit for n, bit in enumerate(namespaces()) if bits >> n & 1)
        if lets_through(profile, "clone", flags | 17) != (flags in (0, ALL_NAMESPACES)):
            found.append(f"clone with {flags:#x}")
    return found


def namespaces() -> list[int]:
    return [bit for bit in (1 << n for n in range(32)) if bit & ALL_NAMESPACES]


@pytest.fixture
def profile() -> dict[str, Any]:
    return dict(json.loads(PROFILE.read_text()))


def test_nothing_is_wrong(profile: dict[str, Any]) -> None:
    assert len(namespaces()) == 7
    assert mistakes(profile) == []
    assert set(allowed(profile)) >= FOR_THE_SANDBOX


def test_clone3_is_said_not_to_exist(profile: dict[str, Any]) -> None:
    """Its flags are out of a filter's reach; with ENOSYS the C library falls back to clone."""
    assert "clone3" not in allowed(profile)
    (rule,) = (rule for rule in profile["syscalls"] if "clone3" in rule["names"])
    assert (rule["action"], rule["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def rule(*names: str, **rest: object) -> dict[str, Any]:
    return {"comment": "", "names": list(names), "action": "SCMP_ACT_ALLOW", **rest}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (rule("unshare"), "unshare is let through"),
        (rule("setns"), "setns is let through"),
        (rule("bpf", "ptrace"), "ptrace is let through"),
        (rule("clone3"), "clone3 is let through"),
        (rule("clone"), "clone with 0x10000000"),
        (rule("socket"), "socket(40)"),
        (rule("read"), "read: twice"),
        (rule("b", "a"), "not in order"),
        ({"names": ["x"], "action": "SCMP_ACT_ALLOW"}, "a rule with"),
    ],
)
def test_what_is_too_wide_is_found(profile: dict[str, Any], more: object, said: str) -> None:
    profile["syscalls"].append(more)
    assert any(said in one for one in mistakes(profile))


def test_an_open_default_is_found(profile: dict[str, Any]) -> None:
    profile["defaultAction"] = "SCMP_ACT_ALLOW"
    assert any("SCMP_ACT_ALLOW" in one for one in mistakes(profile))


def test_libseccomp_knows_every_name(profile: dict[str, Any]) -> None:
    """A slip in a name would be passed over in silence by the engine."""
    found = ctypes.util.find_library("seccomp")
    if found is None:
        pytest.skip("libseccomp is not installed")
    library = ctypes.CDLL(found)
    unknown = -1  # __NR_SCMP_ERROR
    assert library.seccomp_syscall_resolve_name(b"mounts") == unknown
    names = {name for rule in profile["syscalls"] for name in rule["names"]}
    wrong = {n for n in names if library.seccomp_syscall_resolve_name(n.encode()) == unknown}
    assert wrong <= {"fchmodat2"}, "newer than the oldest library that is met"


def test_the_page_explains_each(profile: dict[str, Any]) -> None:
    for name in FOR_THE_SANDBOX | {"clone3"}:
        assert f"`{name}`" in PAGE
