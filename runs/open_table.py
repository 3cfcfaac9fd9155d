"""Time and memory of opening NAS-Bench-201 and reading one figure: our table of 15,625 architectures, nats_bench's sample of 300.

Each is measured in a process of its own, after its imports; the middle of five processes is printed.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

_ARCH = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|"
_REPEATS = 5


def ours(_: str) -> None:
    import torch

    from nas import tables
    from search_spaces.nasbench201 import NasBench201

    torch.set_num_threads(1)

    def read() -> float:
        table = tables.find("nasbench201")
        row = (table.archs == NasBench201().parse(_ARCH)).all(1).nonzero().item()
        return table.column("cifar10/test_accuracy@200")[int(row)].item()

    measure(read)


def nats_bench(folder: str) -> None:
    import nats_bench

    def read() -> float:
        api = nats_bench.create(folder, "tss", fast_mode=True, verbose=False)
        return api.get_more_info(_ARCH, "cifar10", hp="200", is_random=False)["test-accuracy"]

    measure(read)


def measure(read: Callable[[], float]) -> None:
    """Print what `read` gives, its milliseconds, and how many MB the process grew at its peak."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    value = read()
    seconds = time.perf_counter() - started
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"value": value, "milliseconds": 1000 * seconds, "megabytes": megabytes}))


def main(folder: str) -> None:
    for name, what in (("ours", "metacell, 15,625 architectures"), ("nats_bench", "nats_bench, 300 architectures")):
        command = [sys.executable, __file__, name, folder]
        outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(_REPEATS)]
        runs = [json.loads(output.splitlines()[-1]) for output in outputs]
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"{what:<32} {middle['value']:.3f}%  {middle['milliseconds']:8.2f} ms  {middle['megabytes']:6.1f} MB more"
        )


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        {"ours": ours, "nats_bench": nats_bench}[sys.argv[1]](sys.argv[2])
