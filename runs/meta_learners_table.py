"""The table of runs/meta_learners.sh: evaluations to one of the best 0.1%, each meta-learner alone and guarded.

A cell has the median over searches and the share that got there within the budget; `-` where fewer than half did.
"""

import json
import sys
from pathlib import Path

COLUMNS = {
    "nasbench201/cifar100": "CIFAR-100",
    "nasbench201-robustness/cifar10-fgsm": "FGSM 8",
    "nasbench201-robustness/cifar10-aa_square": "Square 1",
    "own201/digits": "digits",
    "own201/rsscn7": "aerial",
    "nasbench201-ninapro": "NinaPro",
}


def label(controller: str) -> str:
    """A row's name: its prior, and whether it is guarded."""
    name, _, rest = controller.partition(":")
    if "prior=" not in rest:
        return f"cold `{name}`"
    learner = Path(rest.rpartition("prior=")[2]).stem
    return f"`{learner}`, guarded" if name == "guarded" else f"`{learner}`"


def cell(row: dict) -> str:
    """Median, and the share of searches that reached one."""
    found = row["evaluations_to_top"]
    median = "-" if found["median"] is None else f"{found['median']:.0f}"
    return f"{median}, {100 * found['reached']:.0f}%"


def main() -> None:
    rows: dict[str, dict[str, str]] = {}
    for file in sorted(Path(sys.argv[1]).glob("*/results.json")):
        for row in json.loads(file.read_text())["rows"]:
            column = next(title for start, title in COLUMNS.items() if row["task"].startswith(start))
            rows.setdefault(label(row["controller"]), {})[column] = cell(row)
    print(f"| prior | {' | '.join(COLUMNS.values())} |\n|---|{'---:|' * len(COLUMNS)}")
    for name, found in rows.items():
        print(f"| {name} | {' | '.join(found.get(title, '') for title in COLUMNS.values())} |")


if __name__ == "__main__":
    main()
