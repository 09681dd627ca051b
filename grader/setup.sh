#!/bin/sh
# Create the environment .venv. As root on Debian or Ubuntu, also install the missing tools;
# otherwise print the command that installs them. Called by the Makefile:
#   sh grader/setup.sh        everything that grading needs
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

# --- tools, as command:package; the second list holds the optional ones ---
required="qemu-system-x86_64:qemu-system-x86 gcc:gcc ld:binutils objcopy:binutils"
optional="bwrap:bubblewrap /usr/share/ovmf/OVMF.fd:ovmf"
if [ "$kind" = dev ]; then
	required="$required clang:clang"
	required="$required grub-mkrescue:grub-common xorriso:xorriso"
	required="$required /usr/lib/grub/i386-pc:grub-pc-bin"
	optional="$optional gdb:gdb"
fi

# Print the packages for those of "$@" that are missing: commands not on PATH, absent files.
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
		apt-get -qq update || say "apt-get update failed; trying with the package lists on this machine"
		# shellcheck disable=SC2086
		apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends $all >/dev/null ||
			stop "apt-get could not install $all; fix the problem it reports above and run this again"
	elif [ -n "$needed" ]; then
		stop "missing: $(echo "$needed" | xargs)" "run: sudo $line" "then run this again"
	else
		say "all required tools are installed; for the rest run: sudo $line"
	fi
fi

# --- Python ---
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	stop "Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1)" \
		"to use another one: make setup PYTHON=python3.11"

if ! .venv/bin/python -c '' 2>/dev/null || ! grep -qsF "$here/.venv/bin/python" .venv/bin/pip; then
	say "creating the environment .venv"
	"$python" -m venv --clear .venv || stop "could not create the environment, see above"
fi
say "installing vmmlab into .venv"
[ "$kind" = dev ] && what='.[dev]' || what='.[explore]' # lab 4's hints name vmmlab explore
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$what" ||
	stop "pip could not install vmmlab, see above (can this machine reach the package index?)"

# Compile the modules now: where PYTHONDONTWRITEBYTECODE is set, each command would do it again.
.venv/bin/python -m compileall -q grader/vmmlab labs || true

printf '%s\n' "$here" >.venv/.setup
[ "$kind" != dev ] || printf '%s\n' "$here" >.venv/.setup-dev
