#!/usr/bin/env bash
# What zero-cost proxies are worth on NAS-Bench-201: 200 networks, all proxies. IMAGES is a folder of npz data sets with cifar10.npz,
# NAS_TABLES one of tables with nasbench201 and nasbench201-zerocost. About ten minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" runs/zero_cost.py "${IMAGES:?names a folder of npz data sets}/cifar10.npz" "$@"
