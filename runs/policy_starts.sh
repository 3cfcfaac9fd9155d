#!/usr/bin/env bash
# What a meta-learned start is worth to REINFORCE: maml and reptile with and without entropy, on tasks that a split leaves out.
# SEEDS searches of 150 evaluations; about 5 minutes of one core with 20. It goes on where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
python=("${PYTHON:-.venv/bin/python}" -m nas)
out="${OUT:-runs/policy_starts}"
robust=nasbench201-robustness/cifar10
declare -A tasks=(
  [cifar100]=nasbench201/cifar100@200~mean
  [robustness]=$robust-fgsm-8.0@200~mean,$robust-aa_square-1.0@200~mean
  [ninapro]=nasbench201-ninapro/ninapro~mean
  [shipped]=own201/digits@4~mean,own201/rsscn7_aerial@4~mean
)
for split in ${SPLITS:-cifar100 robustness ninapro shipped}; do
  priors=(--prior none)
  for learner in maml reptile; do
    for entropy in 0.5 0; do
      folder="$out/$learner-$split-$entropy"
      [[ -f "$folder/prior.safetensors" ]] ||
        "${python[@]}" meta-train --learner "$learner" --learner-option "entropy=$entropy" --split "$split" --out "$folder"
      priors+=(--prior "$folder/prior.safetensors")
    done
  done
  "${python[@]}" compare --tasks "${tasks[$split]}" --controllers reinforce:lr=0.05:policy_net=independent "${priors[@]}" --seeds "${SEEDS:-20}" \
    --evals 150 --out "$out/$split" --jobs 1 --no-figures
done
