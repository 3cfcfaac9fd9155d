"""Tasks with limits, and the families that tasks form."""

import pytest
import torch

from controller import Proposal
from nas import tables, tasks
from nas.evaluators.constrained import feasible
from nas.tasks import families
from search_spaces import UserError, _ops

PLAIN = "nasbench201/cifar100@200"
LATENCY = "nasbench201-hardware/fpga/latency"


@pytest.fixture(autouse=True)
def _tables(table):
    for name in ("nasbench201", "nasbench201-hardware", "nasbench201-robustness", "nasbench201-ninapro"):
        table(name)


def scores(name):
    evaluator = tasks.find(name)
    everything = Proposal(_ops.enumerate_all(evaluator.space.choices)[None])
    return evaluator.load(torch.tensor([0]))(everything).score[0]


def test_the_score_is_accuracy_less_20_points_for_twice_the_limit():
    limited, plain = scores(f"{PLAIN}+{LATENCY}<=5"), scores(PLAIN)
    latency = tasks.find(PLAIN).table.path.with_name("nasbench201-hardware.safetensors")
    latency = tables.read(latency).by_index("fpga/latency", (5,) * 6)
    by_hand = [a - 20 * max(0.0, v / 5 - 1) for a, v in zip(plain.tolist(), latency.tolist())]
    torch.testing.assert_close(limited, torch.tensor(by_hand))
    assert (limited < plain).any()
    assert (limited == plain).any()


def test_an_evaluation_tells_how_far_over_each_limit_a_cell_is():
    evaluator = tasks.find(f"{PLAIN}+{LATENCY}<=5+{LATENCY}<=10*40")
    archs = _ops.enumerate_all(evaluator.space.choices)[None, ::1000]
    results, plain = (x.load(torch.tensor([0]))(Proposal(archs)) for x in (evaluator, tasks.find(PLAIN)))
    latency = evaluator.constraints[0].values(archs, evaluator.space)
    assert evaluator.task.constraints == (20.0, 40.0)
    assert plain.constraint_ratio is None
    torch.testing.assert_close(results.constraint_ratio, torch.stack([latency / 5, latency / 10], -1))
    off = 20 * (latency / 5 - 1).clamp(min=0) + 40 * (latency / 10 - 1).clamp(min=0)
    torch.testing.assert_close(results.score, plain.score - off)


def test_the_weight_can_be_set_and_limits_add_up():
    plain, once = scores(PLAIN), scores(f"{PLAIN}+{LATENCY}<=5")
    double = scores(f"{PLAIN}+{LATENCY}<=5*40")
    both = scores(f"{PLAIN}+{LATENCY}<=5+{LATENCY}<=5")
    torch.testing.assert_close(plain - double, 2 * (plain - once))
    torch.testing.assert_close(both, double)


def test_a_quantile_is_kept_by_that_share_of_the_space():
    evaluator = tasks.find(f"{PLAIN}+{LATENCY}<=q30")
    kept = feasible(_ops.enumerate_all(evaluator.space.choices), evaluator.space, evaluator.constraints)
    assert kept.float().mean().item() == pytest.approx(0.3, abs=0.005)
    assert evaluator.task.name.endswith("q30")


def test_the_report_is_the_accuracy_alone():
    arch = torch.tensor([[3] * 6])
    assert torch.equal(tasks.find(f"{PLAIN}+{LATENCY}<=q10").report(arch), tasks.find(PLAIN).report(arch))


BAD = {
    f"{PLAIN}+fpga<=3": "takes TABLE/COLUMN<=VALUE",
    f"{PLAIN}+nasbench201-hardware/fgpa/latency<=3": "Did you mean 'fpga/latency'",
    f"{PLAIN}+hardware/fpga/latency<=3": "No table is called 'hardware'",
    f"{PLAIN}+{LATENCY}<=q101": "q0 to q100",
    f"{PLAIN}+{LATENCY}<=-1": "above zero",
    f"{PLAIN}+{LATENCY}<=1e": "for a number",
    f"{PLAIN}+nasbench201/cifar10/valid_accuracy@200<=1": "a figure for each seed",
    f"natsbench-size/cifar10+{LATENCY}<=1": "the task's is 'natsbench-size'",
}


@pytest.mark.parametrize(("name", "says"), BAD.items())
def test_a_limit_that_is_none_is_told(name, says, table):
    table("natsbench-size")
    with pytest.raises(UserError, match=says):
        tasks.find(name)


def test_families_are_those_of_the_tables():
    sizes = {name: len(members) for name, members in families.families().items()}
    assert {"accuracy": 3, "robustness": 18, "device": 23, "domain": 1}.items() <= sizes.items()
    assert families.family_of(f"{PLAIN}+{LATENCY}<=q30") == "device"


def test_patterns_select_tasks_at_full_length_unless_told():
    assert families.select("nasbench201/*") == families.families()["accuracy"]
    assert set(families.select("nasbench201/*@12")) == {
        f"nasbench201/{d}@12" for d in ("cifar10", "cifar100", "ImageNet16-120")
    }
    assert families.select("domain,domain,nasbench201/*")[0] == "nasbench201-ninapro/ninapro"
