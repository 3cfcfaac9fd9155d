#!/usr/bin/env bash
# The leave-one-out tables: priors trained without a data set, a family, four devices or a space, tried on what they never saw,
# beside cold searches. NAS_TABLES: folders with the tables. SEEDS (of each trial), EVALS, JOBS and DRAWS (of the training tasks)
# may be set; what was made is not made again. Half an hour of one core. POLICIES="robustness devices" trains priors of
# attention_policy for these splits, too, twenty minutes of a core each.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "$PYTHON" runs/transfer.py "${SEEDS:-16}" "${EVALS:-100}" "${JOBS:-2}" "${DRAWS:-3}" "$@"
