#!/usr/bin/env bash
# The baselines of docs/benchmarks.md (tables in runs/baselines/tables.md) and its figures: 50 tasks, 50 seeds, 150 evaluations; TPE,
# whose studies are Python objects, on the accuracy family with 5 seeds and 100 evaluations.
# Needs the tables in NAS_TABLES. Goes on where it was stopped. SEEDS, EVALS and JOBS (processes) may be set.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" PYTHON="${PYTHON:-.venv/bin/python}"
searchers=random_search,evolution,local_search,reinforce,ppo,bayesian,portfolio,oracle,worst
compare() { "$PYTHON" -m nas compare --jobs "${JOBS:-$(nproc)}" "$@" > /dev/null; }
compare --tasks accuracy,robustness,domain,transnas-micro,natsbench-size,device --controllers "$searchers" \
    --seeds "${SEEDS:-50}" --evals "${EVALS:-150}" --out runs/baselines
compare --tasks accuracy --controllers random_search,tpe --seeds 5 --evals 100 --no-figures --out runs/baselines_tpe
"$PYTHON" runs/baselines.py
