#!/usr/bin/env bash
# Several objectives: how much of the front of a table each controller finds. NAS_TABLES: a folder with nasbench201 and
# nasbench201-hardware. SEEDS may be set; what was made is not made again. About three minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
for aim in accuracy,params accuracy,nasbench201-hardware/pixel3/latency; do
    "${PYTHON:-.venv/bin/python}" -m nas compare --tasks nasbench201/cifar100~mean,nasbench201/ImageNet16-120~mean \
        --aim "$aim" --controllers random_search,nsga2,evolution,bayesian,transfer_bo --evals 100 --seeds "${SEEDS:-20}" \
        --no-figures --jobs "${JOBS:-1}" --out "runs/objectives-${aim##*[/,]}" "$@"
done
