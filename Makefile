# Everything that is run here makes its own virtual environment first; nothing else has to be installed.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BUILD ?= build
TRIALS ?= 96
BUNDLE ?= $(BUILD)/bundle
BUNDLED = zarrita@0.7.5 @zarrita/storage@0.2.0 fzstd@0.1.1 esbuild@0.25.9
ZARRITA ?= readers/view/page/zarrita.js

NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
WHICH = import sys; print(sys.base_prefix, *sys.version_info[:2])
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check

# Wherever this is set, each process would compile all of zarr, dask and torch anew.
unexport PYTHONDONTWRITEBYTECODE

# Where tests of what is written, not of disks, keep their files: in memory, if there are 4 GB of it for that.
export IN_MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | awk '$$1 == "tmpfs" && $$4 > 4000000 { print $$6 }')

.PHONY: demo docs dist test lint test-once test-all torture bundle clean FORCE

demo: $(VENV)/ready ## make a sample mouse, convert it, verify it, show what came out
	rm -rf $(DEMO)/data $(DEMO)/stores
	$(VENV)/bin/trialpack sample $(DEMO)/data --trials $(TRIALS)
	$(VENV)/bin/trialpack convert $(DEMO)/data --to $(DEMO)/stores
	$(VENV)/bin/trialpack verify $(DEMO)/stores/*.zarr --source $(DEMO)/data
	$(VENV)/bin/trialpack info $(DEMO)/stores/*.zarr
	@echo "It works: $(DEMO)/stores holds the mouse. Next: $(VENV)/bin/trialpack --help"

test: lint ## lint, types, and the tests that take seconds at most
	TMPDIR="$${TMPDIR:-$$IN_MEMORY}" $(VENV)/bin/python -m pytest -q -n auto --dist worksteal -m "not once"

test-once: $(VENV)/tested ## the long tests: memory at real sizes, kills, full disks, damage, documents
	$(VENV)/bin/python -m pytest -q -n auto --dist worksteal -m once

lint: $(VENV)/tested
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python

test-all: ## the tests on every other Python from 3.11 that is installed, each with the newest zarr it can have; some with the oldest of all that is needed
	PYTHON="$(PYTHON)" bash tests/all_pythons.sh

docs: $(VENV)/tested ## the site, into build/docs: documents, API and notebooks, which are executed; warnings are errors
	rm -rf $(BUILD)/docs
	PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/python -m sphinx -q -W --keep-going -d $(BUILD)/doctrees docs $(BUILD)/docs
	@echo "The site: $(BUILD)/docs/index.html"

dist: $(VENV)/tested ## wheel and sdist, into dist: checked strictly, and used from a virtual environment of their own
	VENV="$(VENV)" bash tests/distribution.sh

torture: $(VENV)/tested ## inject faults by the hundred, and print how many were survived; about half an hour on two cores
	$(VENV)/bin/python -m pytest -q -n auto --torture tests/faults

bundle: ## make the copy of zarrita that the page of `trialpack view` reads stores with; needs node
	npm install --prefix $(BUNDLE) --no-save --no-package-lock --ignore-scripts --no-audit --no-fund $(BUNDLED)
	echo "export { get, open, registry, root } from 'zarrita';" \
	  "export { decompress as zstd } from 'fzstd';" > $(BUNDLE)/zarrita.js
	$(BUNDLE)/node_modules/.bin/esbuild $(BUNDLE)/zarrita.js --bundle --minify --format=esm "--external:numcodecs/*" \
	  --banner:js="/* $(BUNDLED), by make bundle; licences.txt */" --outfile=$(ZARRITA)

clean:
	rm -rf $(VENV) .venv-* $(DEMO) $(BUILD) dist *.egg-info

# A virtual environment that belongs to another Python, or to one that is gone, is made anew.
$(VENV)/made: FORCE
	@$(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
	  echo "trialpack needs Python 3.11 or newer, and $(PYTHON) is older or missing: name one, as in PYTHON=python3.12" >&2; exit 1; }
	@test -e $@ -a "$$($(VENV)/bin/python -c '$(WHICH)' 2>/dev/null)" = "$$($(PYTHON) -c '$(WHICH)')" || { \
	  echo "Making a virtual environment in $(VENV)" && \
	  $(PYTHON) -m venv $(if $(wildcard $(VENV)/pyvenv.cfg),--clear) $(VENV) && touch $@; }

$(VENV)/ready: setup.cfg pyproject.toml $(VENV)/made
	@echo "Installing trialpack and what it needs into $(VENV) (about 300 MB)"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/tested: $(VENV)/ready
	@echo "Installing what the tests need into $(VENV) (about 2.5 GB; some minutes)"
	@$(INSTALL) -e '.[lint,docs,test,test-torch]'
	@touch $@
