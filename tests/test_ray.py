"""Evaluations on a Ray cluster: of two nodes one is killed in the middle, and nothing is lost."""

import math
import sys
import time
from pathlib import Path

import pytest
import torch

from controller import Proposal
from nas.evaluators.function import Function
from search_spaces import UserError

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray", reason="needs Ray: pip install 'metacell[ray]'")

CODE = """
import os, signal, time
import ray

def slow(arch):
    time.sleep(1.0)
    return float(sum(arch.indices))

def crashes(arch):
    if arch.indices[0] == 0:
        os.kill(os.getpid(), signal.SIGSEGV)
    if arch.indices[0] == 1:
        time.sleep(1000)
    return 1.0
"""


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    yield made, nodes
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def rows(*firsts):
    return Proposal(torch.tensor([[[first, at % 5, 0, 0, 0, 0] for at, first in enumerate(firsts)]]))


@pytest.mark.filterwarnings("ignore")
def test_a_node_is_killed_in_the_middle_and_nothing_is_lost(cluster, file):
    made, nodes = cluster
    evaluator = Function.of("t", objective=f"{file}:slow", ray="auto", workers="2")
    assert evaluator.concurrency == 2
    proposal = rows(2, 2, 2, 3, 3, 3)
    for ticket, arch in enumerate(proposal.archs[0, :2]):
        evaluator.submit(ticket, arch, None, 0)
    time.sleep(3)
    made.remove_node(nodes[1], allow_graceful=False)
    for ticket, arch in enumerate(proposal.archs[0, 2:], 2):
        evaluator.submit(ticket, arch, None, 0)
    found = dict(evaluator.wait()[:2] for _ in range(6))
    assert [found[ticket] for ticket in range(6)] == proposal.archs[0].sum(-1).tolist()
    evaluator.pool.close()


@pytest.mark.filterwarnings("ignore")
def test_crashes_and_hangs_are_failed_evaluations_there_too(cluster, file):
    evaluator = Function.of("t", objective=f"{file}:crashes", ray="auto", workers="2", timeout="2")
    score = evaluator.load(torch.tensor([0]))(rows(0, 1, 2)).score[0].tolist()
    assert [math.isnan(x) for x in score] == [True, True, False]
    assert sorted(evaluator.failures()) == ["its process ended by SIGSEGV", "no answer within 2 s"]
    evaluator.pool.close()


def test_no_cluster_is_one_line_before_a_run_is_made(file):
    with pytest.raises(UserError, match="no cluster answers"):
        Function.of("t", objective=f"{file}:slow", ray="127.0.0.1:1").load(torch.tensor([0]))


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
