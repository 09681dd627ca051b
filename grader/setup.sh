#!/bin/sh
# Makes the environment .venv and, as root on Debian or Ubuntu, installs the tools that are missing.
# Anyone else is told the one line to run. Called by the Makefile:
#   sh grader/setup.sh        what grading needs
#   sh grader/setup.sh dev    also what the kit's own tests need
set -eu
cd "$(dirname "$0")/.."
here=$(pwd -P)
python=${PYTHON:-python3}
kind=${1:-}

say() { printf 'setup: %s\n' "$*"; }
stop() {
	printf 'setup: %s\n' "$@" >&2
	exit 1
}

# --- tools: command:package, those that the kit can do without in the second list ---
required="qemu-system-x86_64:qemu-system-x86 gcc:gcc ld:binutils objcopy:binutils"
optional="bwrap:bubblewrap"
if [ "$kind" = dev ]; then
	required="$required clang:clang"
	required="$required grub-mkrescue:grub-common xorriso:xorriso"
	required="$required /usr/lib/grub/i386-pc:grub-pc-bin"
	optional="$optional gdb:gdb"
fi

# The packages of the commands in "$@" that are not on PATH, and of the files that are not there.
lacking() {
	for pair in "$@"; do
		[ -e "${pair%%:*}" ] || command -v "${pair%%:*}" >/dev/null 2>&1 ||
			printf '%s\n' "${pair##*:}"
	done | sort -u
}
lacking_python() {
	if ! command -v "$python" >/dev/null 2>&1; then
		printf 'python3\npython3-venv\n'
	elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
		printf 'python3-venv\n'
	fi
}

# shellcheck disable=SC2086
needed=$(lacking $required; [ -x .venv/bin/pip ] || lacking_python)
# shellcheck disable=SC2086
wished=$(lacking $optional)
all=$(printf '%s\n%s\n' "$needed" "$wished" | xargs)
if [ -n "$all" ]; then
	line="apt-get install --no-install-recommends $all"
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		say "installing $all"
		export DEBIAN_FRONTEND=noninteractive
		apt-get -qq update || say "apt-get update failed, trying with the lists that are here"
		# shellcheck disable=SC2086
		apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends $all >/dev/null ||
			stop "apt-get could not install $all; mend what it says above and run this again"
	elif [ -n "$needed" ]; then
		stop "missing: $(echo "$needed" | xargs)" "run: sudo $line" "then run this again"
	else
		say "everything that is needed is here; for the rest run: sudo $line"
	fi
fi

# --- Python ---
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	stop "Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1)" \
		"with another one: make setup PYTHON=python3.11"

if ! .venv/bin/python -c '' 2>/dev/null || ! grep -qsF "$here/.venv/bin/python" .venv/bin/pip; then
	say "making the environment .venv"
	"$python" -m venv --clear .venv || stop "the environment could not be made, see above"
fi
say "installing vmmlab into .venv"
[ "$kind" = dev ] && what='.[dev]' || what='.[explore]' # lab 4's hints name vmmlab explore
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$what" ||
	stop "pip could not install vmmlab, see above (is the package index reached from here?)"

printf '%s\n' "$here" >.venv/.setup
[ "$kind" != dev ] || printf '%s\n' "$here" >.venv/.setup-dev
