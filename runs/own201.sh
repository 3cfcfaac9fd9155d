#!/usr/bin/env bash
# The shipped table own201, task by task; each line can be stopped and called again. IMAGES is a folder of npz data sets.
# Without IMAGES only the digits are measured. A set takes 15 to 20 minutes of one core. JOBS processes of one thread each.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/own201/own201.safetensors}
nas=.venv/bin/nas
$nas table build --task digits --out "$out" --epochs 4 --channels 4 --cells 2 --train-images 576 --jobs "${JOBS:-2}"
[ -n "${IMAGES:-}" ] || exit 0
$nas table build --task "npz:$IMAGES/rsscn7_aerial.npz" --out "$out" --epochs 4 --channels 4 --cells 2 --image-size 16 \
  --stem-stride 2 --train-images 600 --jobs "${JOBS:-2}"
for set in brain_tumor_mri fashion_mnist arabic_chars28 smile_faces gtsrb flowers5; do
  $nas table build --task "npz:$IMAGES/$set.npz" --out "$out" --epochs 8 --channels 8 --cells 1 --image-size 16 \
    --stem-stride 2 --train-images 1200 --jobs "${JOBS:-2}"
done
$nas table info "$out"
