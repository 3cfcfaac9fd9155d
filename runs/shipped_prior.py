"""The command that made a prior that ships; with the file of another, which of its tensors are otherwise.

Called by shipped_prior.sh: prior|attention_policy [FILE].
"""

from __future__ import annotations

import sys

from controller import Prior
from controller.models import prior_file
from nas.paths import DATA

RECIPES = {
    "prior": "nas meta-train --learner transfer_gp --learner-option pca_steps=600 --split shipped",
    "attention_policy": "nas meta-train --learner rl2 --learner-option predict_steps=8000 --learner-option policy_steps=1200 "
    "--split shipped",
}
"""For what does not ship yet, or was made by a command of version 0.1, whose recipe these are."""


def command(name: str, shipped: Prior | None) -> str:
    """What made a prior that ships."""
    made = "" if shipped is None else shipped.about["command"]
    return made if "--learner" in made else RECIPES[name]


def main() -> None:
    name, path = sys.argv[1], DATA / f"{sys.argv[1]}.safetensors"
    shipped = prior_file.read(str(path)) if path.is_file() else None
    if len(sys.argv) == 2:
        print(command(name, shipped))
        return
    again = prior_file.read(sys.argv[2])
    if shipped is None:
        print(f"No {path.name} ships yet; {sys.argv[2]} has {len(again.params)} tensors.")
        return
    names = sorted(shipped.params.keys() | again.params.keys())
    other = [n for n in names if not _alike(shipped, again, n)]
    print(f"{len(names) - len(other)} of the {len(names)} tensors of {path.name} have the same bits.")
    if other:
        print(f"Otherwise, or in one file alone: {', '.join(other)}.")


def _alike(a: Prior, b: Prior, name: str) -> bool:
    x, y = a.params.get(name), b.params.get(name)
    return x is not None and y is not None and x.dtype == y.dtype and x.numpy().tobytes() == y.numpy().tobytes()


if __name__ == "__main__":
    main()
