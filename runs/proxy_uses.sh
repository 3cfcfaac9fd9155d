#!/usr/bin/env bash
# What a zero-cost proxy is worth as a feature of models and as a filter of candidates: regret of searches on tables with and without.
# NAS_TABLES: a folder with nasbench201, its -zerocost, -robustness and -ninapro. Resumes. Arguments: runs/proxy_uses.py --help.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/proxy_uses.py "$@"
