"""`runs/gpu.py`, which a graphics card is needed for, runs whole on the CPU with `--dry`."""

import json
import runpy
import sys
from pathlib import Path

import torch

RECIPE = Path(__file__).parent.parent / "runs" / "gpu.py"


def test_the_dry_run_measures_each_way_and_grouped_networks_have_the_exact_gradients(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--dry", "--device", "cpu"])
    runpy.run_path(str(RECIPE), run_name="__main__")
    head, exact, *rows = map(json.loads, capsys.readouterr().out.splitlines())
    assert head["device"] == "CPU"
    assert exact["exactness"]["float64"] == 0
    assert 0 < exact["exactness"]["float32"] < 1e-3
    assert [row["way"] for row in rows] == ["one at a time", "grouped", "grouped, fast"]
    assert rows[0]["times as fast"] == 1
    assert all(row["seconds"] > 0 for row in rows)


def test_grouped_networks_step_as_each_does_alone():
    """The step that is timed is a training step of each network: its loss falls as if it were alone."""
    recipe = runpy.run_path(str(RECIPE))
    space, archs, task, x, y = recipe["setup"]((8, 1, 4, 1, 2), torch.device("cpu"))
    together = recipe["grouped"](space, archs, task, torch.device("cpu")).double()
    alone = [recipe["grouped"](space, archs[p : p + 1], task, torch.device("cpu")).double() for p in range(2)]
    for p, one in enumerate(alone):
        ours, mine = together.weights_of(p, lambda t: t), one.weights_of(0, lambda t: t)
        with torch.no_grad():
            for name, weight in mine.items():
                weight.copy_(ours[name])
    step, steps = recipe["step_of"](together, x.double(), y), [recipe["step_of"](one, x.double(), y) for one in alone]
    for _ in range(2):
        assert torch.allclose(step(), sum(one() for one in steps), rtol=1e-9)
