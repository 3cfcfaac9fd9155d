"""Learning across tasks: what a prior is trained on, and how."""

from nas.meta.trainer import FORMAT, STAGES, Plan, Trainer

__all__ = ["FORMAT", "STAGES", "Plan", "Trainer"]
