"""What a task's name says, read in one place.

    TABLE/DATASET[@EPOCHS][~SEEDS]        a column of a benchmark table, as `nasbench201/cifar10@200`
    nats:PATH/DATASET[@EPOCHS][~SEEDS]    nats_bench's own files
    evaluator:COMPONENT/NAME              an evaluator of your own, as `evaluator:my_scores.py:MyScores/NAME`
    few_shot:DATA                         few-shot learning on what `nas few-shot --data DATA` takes
    DATASET                               trained: `digits`, `npz:FILE`, `folder:DIR`, `hf:NAME`

SEEDS says what an evaluation gives where several training seeds were measured: `one-seed`, the score of one of them, drawn for
each evaluation, as who trains once has it; `mean`, their mean. A name without it means the mean in a search, and `one-seed` in a
comparison (`nas.tasks.families.protocol`).

Behind any of them stand constraints, each `+TABLE/COLUMN<=VALUE`, as `+nasbench201-hardware/fpga/latency<=q30`; behind a dataset
also `+params<=20k`, `+flops<=5M` and `+latency<=2ms`, which bound the network that is handed out.

Files and folders may be called anything, `a+b`, `x@2`, `y~z`, `a<=b` or with a space. So what stands behind `npz:`, `folder:`,
`hf:` and `few_shot:` is a path up to the constraints at the end of the name that have just that form. Where the path with what
looks like its constraints is there on disk, it is the path, and the name has no constraint.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from controller.models import legacy
from nas.tasks.described_data import base_dataset
from search_spaces import UserError

NETWORK_FIGURES = ("params", "flops", "latency")
"""What a constraint may bound of the network that is handed out, on data that is trained on."""
CONSTRAINT_FORM = (
    "TABLE/COLUMN<=VALUE, as 'nasbench201-hardware/fpga/latency<=q30'; or, on data that is trained on, params<=20k, flops<=5M or "
    "latency<=2ms"
)
Seeds = Literal["", "one-seed", "mean"]
_SEEDS: dict[str, Seeds] = {"one-seed": "one-seed", "mean": "mean"}
_FEW_SHOT = "few_shot:"
_PATHS = ("npz:", "folder:", "hf:", _FEW_SHOT)
_NUMBER = r"-?[0-9.][0-9.eE-]*(?:\+[0-9]+)?"
_OF_NETWORK = rf"(?:{'|'.join(NETWORK_FIGURES)})<={_NUMBER}[^\W\d]*"
"""A number and a unit, of which `nas.tasks.network_constraints` says whether it is one."""
_CONSTRAINT = rf"(?:[^/+]+/[^+]+<=q?{_NUMBER}(?:\*{_NUMBER})?|{_OF_NETWORK})"
_CONSTRAINED = re.compile(rf"(.+)\+({_CONSTRAINT})", re.DOTALL)


class TaskName(NamedTuple):
    """A task's name in its parts; `str` puts them together again."""

    kind: Literal["table", "nats", "evaluator", "few_shot", "data"]
    """A table's column, nats_bench's files, an evaluator from outside, few-shot learning, or a dataset that is trained on."""
    table: str
    """The table, the path of nats_bench's files, or the evaluator; empty for a dataset."""
    dataset: str
    """Of the table; or as it is loaded, `folder:DIR`; or where few-shot data lie."""
    epochs: int | None = None
    """The fidelity; None: the longest there is."""
    seeds: Seeds = ""
    """Of training, where several were measured: `one-seed` draws one for each evaluation, `mean` and nothing take their mean."""
    constraints: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> TaskName:
        """The parts of a name. Raises `UserError` for a part of no such form; whether it leads anywhere is not asked."""
        plain, constraints = _split_constraints(text)
        if plain.startswith("nats:"):
            path, _, rest = plain.removeprefix("nats:").rpartition("/")
            return cls("nats", path, *_fidelity(text, rest), constraints)
        if plain.startswith("evaluator:"):
            component, _, rest = plain.removeprefix("evaluator:").rpartition("/")
            if not component:
                raise UserError(f"Task '{text}' takes the form evaluator:FILE.py:Class/NAME.")
            return cls("evaluator", component, rest, None, "", constraints)
        if plain.startswith(_FEW_SHOT):
            return cls("few_shot", "", plain.removeprefix(_FEW_SHOT), None, "", constraints)
        table, slash, rest = plain.partition("/")
        if slash and ":" not in table:
            return cls("table", table, *_fidelity(text, rest), constraints)
        if not plain.startswith(_PATHS):
            _refuse_rest(plain)
        return cls("data", "", plain, None, "", constraints)

    def __str__(self) -> str:
        before = {"nats": "nats:", "evaluator": "evaluator:"}.get(self.kind, "")
        source = {"data": "", "few_shot": _FEW_SHOT}.get(self.kind, f"{before}{self.table}/")
        epochs = "" if self.epochs is None else f"@{self.epochs}"
        plain = source + self.dataset + epochs + (f"~{self.seeds}" if self.seeds else "")
        return "+".join([plain, *self.constraints])

    def constrained(self, texts: tuple[str, ...]) -> TaskName:
        """The same with more constraints. Raises `UserError` for a text that is none."""
        for text in texts:
            if not re.fullmatch(_CONSTRAINT, text):
                raise UserError(f"Constraint '{text}' takes {CONSTRAINT_FORM}.")
        return self._replace(constraints=(*self.constraints, *texts))

    @property
    def how(self) -> str:
        """How its scores come about, for a message: it follows the task's name."""
        return {"data": "trains cells", "few_shot": "trains few-shot learners"}.get(self.kind, "looks its scores up")

    @property
    def table_constraints(self) -> tuple[str, ...]:
        """Those on a column of a table."""
        return tuple(text for text in self.constraints if not bounds_network(text))

    @property
    def network_constraints(self) -> tuple[str, ...]:
        """Those on the network that is handed out."""
        return tuple(filter(bounds_network, self.constraints))

    def unconstrained(self) -> TaskName:
        return self._replace(constraints=())

    def strip_fidelity(self) -> TaskName:
        """The same task at its most epochs, and without its rule on training seeds."""
        return self._replace(epochs=None, seeds="")

    def base_dataset(self) -> str:
        """The dataset behind a table's task: that of attacks on it is the one attacked."""
        return base_dataset(self.dataset) if self.kind != "data" else self.dataset


def bounds_network(text: str) -> bool:
    """Whether a constraint is one on the network that is handed out, not on a column of a table."""
    return text.partition("<=")[0] in NETWORK_FIGURES


def absolute(text: str) -> str:
    """The name with a path that leads there from any folder: `folder:~/photos` as `folder:/data/me/photos`."""
    kind, _, where = text.partition(":")
    if text.startswith(_FEW_SHOT):
        if where == "digits" or where.startswith(_PATHS):
            return _FEW_SHOT + absolute(where)
        return _FEW_SHOT + absolute(f"npz:{where}").removeprefix("npz:")
    if f"{kind}:" not in _PATHS[:2] or not where.strip():
        return text
    try:
        return f"{kind}:{Path(where).expanduser().absolute()}"
    except RuntimeError:  # `~name` of somebody who is not known here.
        return text


def _split_constraints(text: str) -> tuple[str, tuple[str, ...]]:
    """The name without its constraints, and these."""
    constraints: list[str] = []
    while (match := _CONSTRAINED.fullmatch(text)) and not _is_there(text):
        text = match[1]
        constraints.insert(0, match[2])
    return text, tuple(constraints)


def _is_there(text: str) -> bool:
    return text.startswith(_PATHS) and _exists(text.partition(":")[2])


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # Longer than paths may be, or with a zero byte.
        return False


def _fidelity(name: str, rest: str) -> tuple[str, int | None, Seeds]:
    """`DATASET[@EPOCHS][~SEEDS]` in its parts."""
    _refuse_rest(rest)
    rest, seeds = split_seeds(rest, name)
    dataset, at, epochs = rest.partition("@")
    if at and not epochs.isdecimal():
        raise UserError(f"Task '{name}' has no metrics after '{epochs}' epochs; it takes a whole number.")
    return dataset, int(epochs) if at else None, seeds


def split_seeds(text: str, name: str) -> tuple[str, Seeds]:
    """What stands before `~SEEDS`, and that. Raises `UserError`, which quotes `name`, for a rule on seeds that is none."""
    rest, tilde, suffix = text.partition("~")
    seeds = _SEEDS.get(legacy.ONE_SEED.get(suffix, suffix))
    if tilde and seeds is None:
        raise UserError(f"Task '{name}' ends in '~{suffix}'; after '~' there is: {', '.join(_SEEDS)}.")
    return rest, seeds or ""


def _refuse_rest(plain: str) -> None:
    """What is left behind a plus, once the constraints are off, is none."""
    _, plus, rest = plain.partition("+")
    if plus:
        raise UserError(f"Constraint '{rest}' takes {CONSTRAINT_FORM}.")
