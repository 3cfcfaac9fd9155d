# `make run` and `make test` do all their own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin
export NAS_TABLES ?= $(wildcard $(abspath ../shared/tables))

.PHONY: run test lint docs clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metacell needs Python 3.11 or newer; say make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev,onnx,tpe]' --constraint constraints.txt
	touch $@

run: .venv/installed
	$(BIN)/nas search
	@echo
	@echo "What the prior is worth on digits, after 5 to 50 evaluations, 20 seeds each. It saw no score of digits, but three datasets"
	@echo "measured in the same way, and its settings were chosen while digits were looked at."
	$(BIN)/nas compare --tasks own201/digits --controllers transfer_bo --prior none --prior shipped --seeds 20 --evals 50 \
		--report-after 5,10,20,50 --no-figures --out $(or $(NAS_RUNS),runs)/prior-worth

test: .venv/installed
	$(BIN)/python -m pytest -n auto

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

docs: .venv/docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The pages are in build/site; open build/site/index.html, or say: $(BIN)/python -m mkdocs serve"

.venv/docs-installed: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]' --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
