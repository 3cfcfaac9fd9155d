#!/usr/bin/env bash
# How long a search's last stage takes, for folders of finished searches on images: runs/export_time.sh RUN...
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
echo "| run | parameters | files | seconds | of processors | load |"
echo "|---|---:|---:|---:|---:|---:|"
for run in "$@"; do PYTHONPATH=$PWD "$python" runs/export_time.py "$run"; done
