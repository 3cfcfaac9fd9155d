#!/usr/bin/env bash
# Measures of this source tree, or of the one in ROOT: layers, sizes, comments, prose, what a proposal passes through.
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
root="$(cd "${ROOT:-$here}" && pwd)"
cd "$root"
export PYTHONPATH="$root"
exec "${PYTHON:-$here/.venv/bin/python}" "$here/runs/code_metrics.py" "$root"
