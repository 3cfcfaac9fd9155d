"""NATS-Bench's own searches, one run at a time over its own API: what `runs/speed.sh` times ours against.

They follow the authors' scripts (D-X-Y/AutoDL-Projects, exps/NATS-algos/regularized_ea.py and reinforce.py) with the settings of
NAS-Bench-201. Where only some architectures are at hand, a look-up takes the remainder of the architecture's number.
"""

from __future__ import annotations

import collections
import copy
import random

import torch
from nats_bench.genotype_utils import topology_str2structure
from torch import nn

OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
DATA, EPOCHS = "cifar10", "12"


class Api:
    """`simulate_train_eval` of whatever architectures the download holds."""

    def __init__(self, api, rows: int):
        self.api, self.rows = api, rows

    def evaluate(self, arch) -> tuple[float, float]:
        """Validation accuracy, and all seconds spent so far."""
        number = self.api.query_index_by_arch(arch)
        accuracy, _, _, spent = self.api.simulate_train_eval(number % self.rows, DATA, hp=EPOCHS)
        return accuracy, spent


def random_arch():
    nodes = ["|".join(f"{random.choice(OPERATIONS)}~{i}" for i in range(j)) for j in (1, 2, 3)]
    return topology_str2structure("+".join(f"|{node}|" for node in nodes))


def mutated(parent):
    child = copy.deepcopy(parent)
    node = random.randint(0, len(child.nodes) - 1)
    edges = list(child.nodes[node])
    place = random.randint(0, len(edges) - 1)
    operation = random.choice(OPERATIONS)
    while operation == edges[place][0]:
        operation = random.choice(OPERATIONS)
    edges[place] = (operation, edges[place][1])
    child.nodes[node] = tuple(edges)
    return child


def evolution(api: Api, seconds: float, population: int = 10, tournament: int = 3) -> int:
    """Evaluations of one run of regularised evolution."""
    api.api.reset_time()
    living, history, spent = collections.deque(), [], 0.0
    while spent < seconds:
        if len(history) < population:
            arch = random_arch()
        else:
            parents = [random.choice(living) for _ in range(tournament)]
            arch = mutated(max(parents, key=lambda pair: pair[0])[1])
        accuracy, spent = api.evaluate(arch)
        living.append((accuracy, arch))
        history.append((accuracy, arch))
        if len(living) > population:
            living.popleft()
    return len(history)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.parameters_of_arch = nn.Parameter(1e-3 * torch.randn(6, 5))

    def forward(self):
        return nn.functional.softmax(self.parameters_of_arch, dim=-1)


def reinforce(api: Api, seconds: float, lr: float = 0.01, momentum: float = 0.9) -> int:
    """Evaluations of one run of REINFORCE on independent logits."""
    api.api.reset_time()
    policy = Policy()
    optimizer = torch.optim.Adam(policy.parameters(), lr=lr)
    total, weight, spent, count = 0.0, 0.0, 0.0, 0
    while spent < seconds:
        chances = torch.distributions.Categorical(policy())
        action = chances.sample()
        names = [OPERATIONS[a] for a in action.cpu().tolist()]
        text = f"|{names[0]}~0|+|{names[1]}~0|{names[2]}~1|+|{names[3]}~0|{names[4]}~1|{names[5]}~2|"
        reward, spent = api.evaluate(topology_str2structure(text))
        total, weight = momentum * total + (1 - momentum) * reward, momentum * weight + (1 - momentum)
        loss = (-chances.log_prob(action) * (reward - total / weight)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        count += 1
    return count
