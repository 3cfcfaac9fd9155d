#!/usr/bin/env bash
# What tuning is worth to MAML, Reptile and RL^2 on the controller. Robustness is held out for the test. Settings are chosen by
# searches of the family own201, which no prior that is tried was trained on. TRIALS of each of LEARNERS; about 6 minutes of one core.
# It goes on where it was stopped; the settings found are OUT/LEARNER/best.json, which nas meta-train --settings takes.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
python=("${PYTHON:-.venv/bin/python}" -m nas)
out="${OUT:-runs/tuned_learners}"
robust=nasbench201-robustness/cifar10
declare -A searched=(
  [maml]="inner_lr=1..20:log inner_steps=1..4 lr=0.03..0.3:log entropy=0,0.25,0.5,1,2"
  [reptile]="inner_lr=1..20:log inner_steps=1..20 lr=0.1..1 entropy=0,0.25,0.5,1,2"
  [rl2_recurrent]="lr=0.003..0.03:log evals=10..40 entropy=0.01,0.02,0.05,0.1"
)
arms=()
for learner in ${LEARNERS:-maml reptile rl2_recurrent}; do
  settings=()
  for setting in ${searched[$learner]}; do settings+=(--setting "$setting"); done
  "${python[@]}" tune meta-train --learner "$learner" --split robustness --validate own201 --evals 50 --searches 4 "${settings[@]}" \
    --trials "${TRIALS:-8}" --out "$out/$learner" ${STEPS:+--learner-option steps=$STEPS}
  [[ -f "$out/$learner-before/prior.safetensors" ]] ||
    "${python[@]}" meta-train --learner "$learner" --split robustness --out "$out/$learner-before" ${STEPS:+--learner-option steps=$STEPS}
  [[ -f "$out/$learner-after/prior.safetensors" ]] || "${python[@]}" meta-train --settings "$out/$learner/best.json" \
    --split robustness --out "$out/$learner-after" ${STEPS:+--learner-option steps=$STEPS}
  controller=reinforce:lr=0.05
  [[ $learner != rl2_recurrent ]] || controller=learned_policy
  for when in before after; do arms+=("$controller:prior=$out/$learner-$when/prior.safetensors"); done
done
"${python[@]}" compare --controllers "$(IFS=,; echo "${arms[*]}")" --seeds "${SEEDS:-20}" --evals 150 --jobs 1 --no-figures \
  --tasks "$robust-fgsm-2.0@200~mean,$robust-fgsm-8.0@200~mean,$robust-aa_square-0.5@200~mean,$robust-aa_square-1.0@200~mean" \
  --out "$out/test"
