"""The command that made the shipped prior; with the file of another, whether that one holds the same tensors to the bit.

Called by shipped_prior.sh: [FILE].
"""

from __future__ import annotations

import sys

from controller import Prior
from controller.models import prior_file
from nas.run import priors


def main() -> None:
    shipped = prior_file.read(str(priors.SHIPPED))
    if len(sys.argv) == 1:
        print(shipped.about["command"])
        return
    again = prior_file.read(sys.argv[1])
    names = sorted(shipped.params.keys() | again.params.keys())
    other = [n for n in names if not _alike(shipped, again, n)]
    if other:
        sys.exit(f"{len(other)} of {len(names)} tensors differ, as {', '.join(other[:5])}.")
    print(f"All {len(names)} tensors are those of the shipped prior, to the bit.")


def _alike(a: Prior, b: Prior, name: str) -> bool:
    x, y = a.params.get(name), b.params.get(name)
    return x is not None and y is not None and x.dtype == y.dtype and x.numpy().tobytes() == y.numpy().tobytes()


if __name__ == "__main__":
    main()
