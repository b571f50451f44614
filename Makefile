# Everything that is run here makes its own virtual environment first; nothing else has to be installed.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
TRIALS ?= 96

.PHONY: demo test lint test-all torture clean

demo: $(VENV)/ready ## make a sample mouse, convert it, verify it, show what came out
	rm -rf $(DEMO)/data $(DEMO)/stores
	$(VENV)/bin/trialpack sample $(DEMO)/data --trials $(TRIALS)
	$(VENV)/bin/trialpack convert $(DEMO)/data --to $(DEMO)/stores
	$(VENV)/bin/trialpack verify $(DEMO)/stores/*.zarr --source $(DEMO)/data
	$(VENV)/bin/trialpack info $(DEMO)/stores/*.zarr

test: lint ## lint, types, tests
	$(VENV)/bin/python -m pytest -q -n auto

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --pythonpath $(VENV)/bin/python

test-all: ## the tests on every Python from 3.11 that is installed, each with the newest zarr it can have
	bash tests/all_pythons.sh

torture: $(VENV)/ready ## inject faults by the hundred, and print how many were survived; about half an hour on two cores
	$(VENV)/bin/python -m pytest -q -n auto --torture tests/faults

clean:
	rm -rf $(VENV) .venv-* $(DEMO) build *.egg-info

$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@
