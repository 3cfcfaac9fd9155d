#!/usr/bin/env bash
# The tests with the oldest torch that the package admits. As root, on Debian 13 or in a container of it, whose packages are
# torch 2.6 and Python 3.13: runs/oldest_torch.sh [pytest's arguments]. NAS_TABLES: folders with the tables.
set -euo pipefail
cd "$(dirname "$0")/.."
apt-get install -y -qq --no-install-recommends gcc libc6-dev git make python3-torch python3-venv >/dev/null
[ -d .venv-oldest ] || python3 -m venv --system-site-packages .venv-oldest
.venv-oldest/bin/pip install -q -e '.[dev,onnx,tpe]'
.venv-oldest/bin/python -c 'import sys, torch; print(f"torch {torch.__version__}, Python {sys.version.split()[0]}")'
OMP_NUM_THREADS=1 exec .venv-oldest/bin/python -m pytest "$@"
