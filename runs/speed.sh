#!/usr/bin/env bash
# How fast a look-up, a search and opening the benchmark are beside nats_bench itself. NAS_TABLES: folders with our tables;
# NATS_BENCH: the folder of NATS-Bench's topology download ('-simple'), or of some of its architectures.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" PYTHON="${PYTHON:-.venv/bin/python}"
"$PYTHON" runs/speed.py
runs/open_table.sh "$NATS_BENCH"
