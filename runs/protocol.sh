#!/usr/bin/env bash
# The published protocol of NAS-Bench-201 (docs/benchmarks.md): random search, evolution and REINFORCE as the authors' scripts run
# them, beside their figures, the difference in standard errors. Needs the table nasbench201 in NAS_TABLES. RUNS: 500.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/protocol_tables.py "${RUNS:-500}"
