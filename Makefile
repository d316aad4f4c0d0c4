# Two commands for a bare machine with Python 3.11 or newer: `make demo` and `make test`.
# Every line here is a plain command that the README shows too; PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed-for-pyproject.toml

.PHONY: demo test lint clean

demo: $(INSTALLED)
	$(BIN)/lookright demo

test: lint
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Made anew only when pyproject.toml changes: the stamp is a copy of the file that was installed.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("LookRight needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	@cmp -s pyproject.toml $@ || $(MAKE) --no-print-directory install
	@touch $@

.PHONY: install
install:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[dev]'
	@cp pyproject.toml $(INSTALLED)

clean:
	rm -rf $(VENV) .venv-low demo-out
