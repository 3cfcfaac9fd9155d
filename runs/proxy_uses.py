"""Searches of tables with a zero-cost proxy and without: the regret of the best of each, by its use and by the controller."""

from pathlib import Path

import click
import torch

from nas.compare import comparison, statistics
from nas.compare.trial import TrialSpec

DEVELOPMENT = ("nasbench201/cifar10~mean", "nasbench201-robustness/cifar10-fgsm-1.0~mean")
"""On which settings were chosen."""
SHOWN = ("nasbench201/cifar100", "nasbench201/ImageNet16-120", "nasbench201-ninapro/ninapro", "own201/digits")
PROXY = "nasbench201-zerocost/cifar10/"
"""Of the networks on CIFAR-10, for all tasks: what somebody has who computed them once."""
USES = {
    "random_search": ("", "filter"),
    "evolution": ("", "filter"),
    "bayesian": ("", "feature", "filter"),
    "transfer_bo": ("", "feature", "filter"),
}
"""Of each controller, without a prior."""
AFTER = (10, 30)


def named(controller: str, use: str, proxy: str, proposed: int) -> str:
    """As `nas compare` has it."""
    more = f":proxy={proxy}:proxy_as={use}" if use else ""
    return controller + more + (f":proxy_proposed={proposed}" if use == "filter" else "")


@click.command()
@click.option("--development", is_flag=True, help="The tasks on which settings were chosen, in place of those shown.")
@click.option("--seeds", default=50, show_default=True)
@click.option("--evals", default=30, show_default=True)
@click.option(
    "--proxy", default="nwot", show_default=True, help="A column for CIFAR-10 of nasbench201-zerocost, or params."
)
@click.option("--proposed", default=4, show_default=True, help="Architectures proposed for each that a filter leaves.")
@click.option("--controllers", default=",".join(USES), show_default=True)
@click.option("--out", default="runs/proxy_uses", show_default=True, type=click.Path(path_type=Path))
def main(development: bool, seeds: int, evals: int, proxy: str, proposed: int, controllers: str, out: Path) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    chosen = DEVELOPMENT if development else SHOWN
    proxy = proxy if proxy == "params" else PROXY + proxy
    rows = [(c, use, named(c, use, proxy, proposed)) for c in controllers.split(",") for use in USES[c]]
    specs = [TrialSpec(task, name, seeds, evals, None) for task in chosen for *_, name in rows]
    found = {(one.spec.task, one.spec.controller): one.regret for one in comparison.make(specs, out)}
    counts = [count for count in AFTER if count <= evals]
    what = f"{proxy}, {proposed} proposed for each that a filter leaves"
    print(f"Regret of the best of {seeds} searches after N evaluations, interquartile mean and 95% interval; {what}")
    print("| task | controller | proxy as | " + " | ".join(f"N = {count}" for count in counts) + " |")
    print("|---|---|---|" + "---:|" * len(counts))
    for task in chosen:
        for controller, use, name in rows:
            regret_ST = torch.as_tensor(found[task, name]).numpy()
            cells = [statistics.interval(regret_ST[None, :, count - 1]) for count in counts]
            shown = " | ".join(f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in cells)
            print(f"| {task} | {controller} | {use or 'not used'} | {shown} |")


if __name__ == "__main__":
    main()
