#!/usr/bin/env bash
# What each meta-learner of the controller is worth, alone and guarded, on tasks that its training left out: SEEDS searches of EVALS
# evaluations by table. About 6 minutes of one core; it goes on where it was stopped. SPLITS and LEARNERS do a part of it, and
# `table` prints what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
python=("${PYTHON:-.venv/bin/python}")
out="${OUT:-runs/meta_learners}"
robust=nasbench201-robustness/cifar10
declare -A tasks=(
  [cifar100]=nasbench201/cifar100@200~mean
  [robustness]=$robust-fgsm-8.0@200~mean,$robust-aa_square-1.0@200~mean
  [ninapro]=nasbench201-ninapro/ninapro~mean
  [shipped]=own201/digits@4~mean,own201/rsscn7_aerial@4~mean
)
if [[ "${1:-}" == table ]]; then
  exec "${python[@]}" -m runs.meta_learners_table "$out"
fi
learners=${LEARNERS:-maml reptile meta_sgd learned_optimizer rl2_recurrent meta_surrogate neural_process portfolio prototypical \
  matching siamese relation}
for split in ${SPLITS:-cifar100 robustness ninapro shipped}; do
  "${python[@]}" -m runs.meta_learners --split "$split" --out "$out/$split/priors" --learners $learners ${STEPS:+--steps "$STEPS"}
  arms=bayesian,reinforce:lr=0.05:policy_net=independent
  for learner in $learners; do
    case $learner in
      maml | reptile) controller=reinforce:lr=0.05 warm=reinforce/lr=0.05 ;;
      meta_sgd | learned_optimizer | rl2_recurrent) controller=learned_policy warm=auto ;;
      meta_surrogate | neural_process) controller=surrogate_bo warm=auto ;;
      portfolio) controller=portfolio warm=auto ;;
      *) controller=probed_portfolio warm=auto ;;
    esac
    prior="prior=$out/$split/priors/$learner.safetensors"
    arms+=",$controller:$prior,guarded:warm=$warm:$prior"
  done
  "${python[@]}" -m nas compare --tasks "${tasks[$split]}" --controllers "$arms" --seeds "${SEEDS:-20}" --evals "${EVALS:-150}" \
    --out "$out/$split" --jobs 1 --no-figures > "$out/$split/printed.txt"
done
exec "${python[@]}" -m runs.meta_learners_table "$out"
