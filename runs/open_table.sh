#!/usr/bin/env bash
# Opening NAS-Bench-201 and reading one figure: ours and nats_bench, time and memory.
# Needs the table 'nasbench201' in NAS_TABLES, and nats_bench's sample folder beside it or as the argument.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD"
exec "${PYTHON:-.venv/bin/python}" runs/open_table.py "${1:-${NAS_TABLES:?names the folder of tables}/../nats-tss-sample}"
