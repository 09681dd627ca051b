# The kit's commands. Run `make` to list them.
PYTHON ?= python3
JOBS   ?= 2
BIN    := .venv/bin
LABS   := $(notdir $(sort $(wildcard labs/lab[0-9]*)))

# Each stamp holds the path of the clone, because an environment stops working when it is moved.
STAMP     := .venv/.setup
STAMP_DEV := .venv/.setup-dev
stale = $(if $(filter $(CURDIR),$(shell cat $(1) 2>/dev/null)),,FORCE)

# Quick tests run first, so that a simple mistake shows early; then all others.
QUICK := $(wildcard $(addprefix grader/tests/,course cli checks report))
# By stealing, a worker keeps the tests of a file together: what they share is made once, not once a worker.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
# cohort.h is a template, not valid C.
TREE := vmm-skeleton/{{cookiecutter.slug}}
C_FILES = $(shell find reference $(TREE) -name '*.[ch]' ! -name cohort.h)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev $(LABS) iso linux wheel man sbom messages test test-slow test-full test-browser bench soak lint book browser images images-test clean FORCE

help:
	@echo "make lab0 ... lab10  grade the reference solution of one lab"
	@echo "make setup           create the environment .venv; as root, also install missing packages"
	@echo "make iso             make a bootable image of the reference VMM: build/vmm/vmm.iso"
	@echo "make linux           boot Debian's Linux on the reference VMM; CPUS=8 for more CPUs"
	@echo "make test            run lint, then the kit's tests"
	@echo "make test-slow       run the tests that take longer: as many minutes again"
	@echo "make test-full       run all tests, including the long ones"
	@echo "make test-browser    install Chromium and run the tests that need it"
	@echo "make bench           compare the time of a verdict with the time of the bare boots"
	@echo "make soak            grade 2,000 times under load and report verdicts that change (an hour)"
	@echo "make lint            run ruff, mypy and clang-format"
	@echo "make messages        update the catalogs of translations and list what they lack"
	@echo "make book            build the book in English and Japanese: build/book/index.html"
	@echo "make wheel           build a wheel with the course, without solutions: dist/vmmlab-*.whl"
	@echo "make man             build the manual page: build/man/vmmlab.1"
	@echo "make sbom            list the Python packages of the images, in CycloneDX's format: dist/vmmlab.cdx.json"
	@echo "make images          build the container images for students and for grading"
	@echo "make images-test     build the images and test them"
	@echo "make clean           remove caches and build output"
	@echo ""
	@echo "A workspace of your own: $(BIN)/vmmlab new ~/vmm"

setup:
	@PYTHON='$(PYTHON)' sh grader/setup.sh
	@echo "ready: make lab3, or $(BIN)/vmmlab new ~/vmm"

setup-dev:
	@PYTHON='$(PYTHON)' sh grader/setup.sh dev

$(STAMP): pyproject.toml grader/setup.sh $(call stale,$(STAMP))
	@PYTHON='$(PYTHON)' sh grader/setup.sh

$(STAMP_DEV): pyproject.toml grader/setup.sh $(call stale,$(STAMP_DEV))
	@PYTHON='$(PYTHON)' sh grader/setup.sh dev

$(LABS): $(STAMP)
	@$(BIN)/vmmlab grade $@ --submission reference $(if $(ARCH),--arch $(ARCH))

wheel: man
	@$(BIN)/vmmlab wheel dist --man build/man/vmmlab.1

# The manual page is the help of the commands.
man: $(STAMP_DEV)
	@mkdir -p build/man/source
	@$(BIN)/python -m typer vmmlab.cli.main utils docs --name vmmlab --output build/man/source/vmmlab.md >/dev/null
	@$(BIN)/python -m sphinx -q -E -W -b man -c docs/_man build/man/source build/man

# In an environment of its own, because it needs other versions of some packages.
sbom:
	@[ -x build/sbom/bin/cyclonedx-py ] || { $(PYTHON) -m venv build/sbom && \
		build/sbom/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0; }
	@mkdir -p dist
	@build/sbom/bin/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file dist/vmmlab.cdx.json docker/constraints.txt
	@echo "dist/vmmlab.cdx.json"

iso: $(STAMP)
	@$(BIN)/vmmlab iso vmm --submission reference $(if $(ARCH),--arch $(ARCH))

# GUEST=memtest86+: another guest. The options of both Makefiles are the same.
linux: $(STAMP)
	@$(BIN)/vmmlab linux $(if $(LAB),lab$(patsubst lab%,%,$(LAB)),vmm) --submission reference \
		$(if $(CPUS),--cpus $(CPUS)) $(if $(GUEST),--guest $(GUEST))

test: lint
	$(PYTEST) -m "not full and not slow" $(QUICK)
	$(PYTEST) -m "not full and not slow" grader/tests $(addprefix --ignore=,$(QUICK))

test-slow: $(STAMP_DEV)
	$(PYTEST) -m "slow and not full" grader/tests

# Some of the long tests open pages in a real browser.
# Only what is missing is installed: Node.js from elsewhere brings an npm of its own, which conflicts with Debian's.
BROWSER := chromium:chromium chromedriver:chromium-driver npm:npm
browser:
	@missing=; for one in $(BROWSER); do \
	  command -v "$${one%%:*}" >/dev/null || missing="$$missing $${one##*:}"; done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  missing="$$missing fonts-noto-cjk" && echo "installing$$missing" && \
	  { apt-get -qq update || echo "apt-get update failed; trying with the lists on this machine"; } && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install \
	  --no-install-recommends $$missing >/dev/null; } || \
	echo "no chromium: the browser tests cannot run; install them: sudo apt-get install$$missing"

test-browser: $(STAMP_DEV) browser
	$(PYTEST) -m browser --require-browser grader/tests/docs grader/tests/classroom grader/tests/replay

test-full: lint browser
	$(PYTEST) $(QUICK)
	$(PYTEST) grader/tests $(addprefix --ignore=,$(QUICK))

bench: $(STAMP_DEV)
	@$(BIN)/python grader/bench/bench.py
	@$(BIN)/python grader/bench/classroom.py
	@$(BIN)/python grader/bench/exports.py

soak: $(STAMP)
	@$(BIN)/python grader/bench/soak.py

lint: $(STAMP_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror '--style=file:$(TREE)/.clang-format' $(C_FILES)

messages: $(STAMP_DEV)
	@$(BIN)/python -m vmmlab.author.catalogs

# One book per language. Warnings, such as a dead link or a page without its twin, are errors.
# -a also writes unchanged pages, because their sidebars may have changed.
SPHINX = $(BIN)/python -m sphinx -q -a -W --keep-going -c docs

book: $(STAMP)
	@$(BIN)/python -c 'import furo, myst_parser, sphinx' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(SPHINX) -d build/book/.trees/en . build/book/en
	$(SPHINX) -t ja -d build/book/.trees/ja . build/book/ja
	cp docs/_templates/choose.html build/book/index.html

# IMAGES_OPTIONS: see docker/images-test --help.
images:
	@$(PYTHON) docker/images-test --build-only $(IMAGES_OPTIONS)

images-test:
	@$(PYTHON) docker/images-test $(IMAGES_OPTIONS)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find grader labs -name __pycache__ -type d -prune -exec rm -rf {} +
