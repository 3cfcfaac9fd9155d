"""How zero-cost proxies rank networks of NAS-Bench-201: beside the published proxies, and with accuracy.

Prints a row for each proxy: Spearman's rank correlation of ours with that of NAS-Bench-Suite-Zero, and of either with the test
accuracy after 200 epochs; the interval is Fisher's 95%. The same networks are in all three.

Example: python runs/zero_cost.py cifar10.npz --archs 200
"""

import argparse
import math
from dataclasses import replace

import torch
from scipy.stats import spearmanr

from nas import tables
from nas.evaluators.zero_cost import ZeroCost
from nas.training import zero_cost
from search_spaces.nasbench201 import NasBench201

PUBLISHED = {"jacob_cov": "jacov", "naswot": "nwot", "l2norm": "l2_norm"}
"""What the table calls those of ours that it names otherwise."""
SPACE = NasBench201()


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", help="CIFAR-10 as an npz file")
    parser.add_argument("--archs", type=int, default=200, help="networks, drawn at random")
    parser.add_argument("--batch", type=int, default=32, help="images")
    parser.add_argument("--proxy", action="append", choices=list(zero_cost.PROXIES), help="only this one, or these")
    args = parser.parse_args()
    names = tuple(args.proxy or zero_cost.PROXIES)
    known = tables.find("nasbench201-zerocost")
    published = {
        name: known.by_index(f"cifar10/{PUBLISHED.get(name, name)}", SPACE.choices) for name in zero_cost.PROXIES
    }
    accuracy = tables.find("nasbench201").by_index("cifar10/test_accuracy@200", SPACE.choices)
    rows = torch.stack([*published.values(), accuracy]).isfinite().all(0).nonzero()[:, 0]
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: args.archs]]
    evaluator = replace(ZeroCost.of(f"npz:{args.images}", batch=str(args.batch)), space=SPACE)
    archs = torch.stack([rows // 5**d % 5 for d in range(5, -1, -1)], -1)
    ours = [found.values for found in evaluator.proxies(list(archs), names)]
    print(f"{len(rows)} networks, {args.batch} images of CIFAR-10, test accuracy after 200 epochs")
    print("| proxy | with the published proxy | with accuracy | 95% | published with accuracy |")
    print("|---|---:|---:|---|---:|")
    for name in names:
        theirs = published[name]
        values = [found[name] for found in ours]
        finite = [at for at, value in enumerate(values) if math.isfinite(value)]
        kept, values = rows[finite], [values[at] for at in finite]
        same, worth, other = (
            float(spearmanr(a, b).statistic)
            for a, b in ((values, theirs[kept]), (values, accuracy[kept]), (theirs[kept], accuracy[kept]))
        )
        low, high = interval(worth, len(finite))
        print(f"| {name} | {same:.2f} | {worth:.2f} | {low:.2f} to {high:.2f} | {other:.2f} |")


def interval(correlation: float, count: int) -> tuple[float, float]:
    """Fisher's 95% interval of a correlation of `count` pairs."""
    z, margin = math.atanh(max(-0.999999, min(0.999999, correlation))), 1.959964 / math.sqrt(count - 3)
    return math.tanh(z - margin), math.tanh(z + margin)


if __name__ == "__main__":
    main()
