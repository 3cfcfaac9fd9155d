#!/usr/bin/env bash
# What a learned start of a supernet is worth on three image sets that it has not seen, five seeds. It goes on where it was stopped.
# IMAGES is the folder of npz sets; `--table` prints what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
python="${PYTHON:-.venv/bin/python}" images="${IMAGES:-../shared/images}" out="${OUT:-runs/supernet}"
if [[ " $* " != *" --table "* && ! -f "$out/metanas/prior.safetensors" ]]; then
  sets=()
  for name in mnist kannada_mnist notmnist chinese_mnist math_symbols hand_drawn_shapes usps; do
    sets+=(--images "npz:$images/$name.npz")
  done
  "$python" -m nas meta-train "${sets[@]}" --learner-option examples=1200 --out "$out/metanas"
fi
exec "$python" runs/supernet_start.py --images "$images" --prior "$out/metanas/prior.safetensors" --out "$out/starts.jsonl" "$@"
