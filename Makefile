# The kit's commands. `make` alone lists them.
PYTHON ?= python3
JOBS   ?= 2
BIN    := .venv/bin
LABS   := $(notdir $(sort $(wildcard labs/lab[0-9]*)))

# Each stamp holds the path of the clone: an environment does not survive being moved.
STAMP     := .venv/.setup
STAMP_DEV := .venv/.setup-dev
stale = $(if $(filter $(CURDIR),$(shell cat $(1) 2>/dev/null)),,FORCE)

# The quick ones run first, so that a slip shows early; then everything else.
QUICK := $(wildcard $(addprefix grader/tests/,course cli checks report))
PYTEST = $(BIN)/python -m pytest -n $(JOBS)
# cohort.h is a template, not C.
TREE := vmm-skeleton/{{cookiecutter.slug}}
C_FILES = $(shell find reference $(TREE) -name '*.[ch]' ! -name cohort.h)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev $(LABS) iso messages test test-full bench soak lint book browser images images-test clean FORCE

help:
	@echo "make lab0 ... lab4   grade the reference solution of one lab"
	@echo "make setup           make the environment .venv; as root, also install what is missing"
	@echo "make iso             an image of the reference to boot a PC from: build/vmm/vmm.iso"
	@echo "make test            lint, then the kit's tests"
	@echo "make test-full       all tests, the long ones too"
	@echo "make bench           how fast a verdict is, against the bare boots"
	@echo "make soak            2,000 gradings under load, looking for a verdict that changes (an hour)"
	@echo "make lint            ruff, mypy, clang-format"
	@echo "make messages        bring the catalogs of translations up to date, and list what they lack"
	@echo "make book            the book in English and Japanese: build/book/index.html"
	@echo "make images          container images for students and for grading"
	@echo "make images-test     builds them too, and sees that they work"
	@echo "make clean           remove caches and what was built"
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

iso: $(STAMP)
	@$(BIN)/vmmlab iso vmm --submission reference $(if $(ARCH),--arch $(ARCH))

test: lint
	$(PYTEST) -m "not full" $(QUICK)
	$(PYTEST) -m "not full" grader/tests $(addprefix --ignore=,$(QUICK))

# The long tests look at pages in a real browser, if there can be one.
BROWSER := chromium chromium-driver fonts-noto-cjk
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || \
	{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "installing $(BROWSER)" && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 install \
	  --no-install-recommends $(BROWSER) >/dev/null; } || \
	echo "no chromium: tests in a browser are passed over; with it: sudo apt-get install $(BROWSER)"

test-full: lint browser
	$(PYTEST) $(QUICK)
	$(PYTEST) grader/tests $(addprefix --ignore=,$(QUICK))

bench: $(STAMP)
	@$(BIN)/python grader/bench/bench.py

soak: $(STAMP)
	@$(BIN)/python grader/bench/soak.py

lint: $(STAMP_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror '--style=file:$(TREE)/.clang-format' $(C_FILES)

messages: $(STAMP_DEV)
	@$(BIN)/python -m vmmlab.author.catalogs

# One book a language. A warning is an error: a dead link, a page without its twin. -a writes every
# page, also one that has not changed: the list at its side may have.
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
