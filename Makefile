# `make run` and `make test` do all their own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin
export NAS_TABLES ?= $(wildcard $(abspath ../shared/tables))

.PHONY: run test lint clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metacell needs Python 3.11 or newer; say make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev,onnx,tpe]' --constraint constraints.txt
	touch $@

run: .venv/installed
	$(BIN)/nas search

test: .venv/installed
	$(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

clean:
	rm -rf .venv build dist *.egg-info
