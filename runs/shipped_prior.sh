#!/usr/bin/env bash
# Trains the two priors that ship again, by the commands in their headers, and says which of their tensors came out otherwise:
# nas/data/prior.safetensors of transfer_bo and nas/data/attention_policy.safetensors of attention_policy. Twenty minutes of one
# core; stopped, it goes on. INSTALL=1 puts them in the place of those that ship. NAS_TABLES: folders with all tables. On another
# processor or torch roundings may differ.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
PYTHON="${PYTHON:-.venv/bin/python}"
OUT=runs/shipped-again
read -ra TRANSFER <<<"$("$PYTHON" runs/shipped_prior.py prior)"
read -ra POLICY <<<"$("$PYTHON" runs/shipped_prior.py attention_policy)"
"$PYTHON" -m "${TRANSFER[@]}" --out "$OUT/prior"
"$PYTHON" -m "${POLICY[@]}" --prior "$OUT/prior/prior.safetensors" --out "$OUT/attention_policy"
for NAME in prior attention_policy; do
    rm "$OUT/$NAME/checkpoint.safetensors" # What is finished is trained anew the next time: the code may be another.
    "$PYTHON" runs/shipped_prior.py "$NAME" "$OUT/$NAME/prior.safetensors"
    if [ -n "${INSTALL:-}" ]; then cp "$OUT/$NAME/prior.safetensors" "nas/data/$NAME.safetensors"; fi
done
