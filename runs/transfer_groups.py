"""How much a held-out task can be trusted as a test of what it is shown for."""

from __future__ import annotations

from nas.tasks import TaskName, families

SEEN = (
    "cifar100@", "ImageNet", "ninapro", "square-1.0", "square-2.0", "square-4.0", "fgsm-1.0", "fgsm-6.0", "fgsm-7.0",
    "fgsm-8.0", "fgsm-255", "room_layout", "class_scene", "pixel3", "raspi4", "essential_ph_1", "1080ti",
)  # fmt: skip
"""Not in the development half, but looked at while the ensemble was changed."""


def group(task: str) -> str:
    """Whether settings were chosen on a task: `dev`; `seen`; or `kept`, but for three settings that were chosen on all tasks."""
    name = str(TaskName.parse(task)._replace(seeds=""))
    members = sorted(families.families().get(families.family_of(name), []))
    if any(part in name for part in SEEN):
        return "seen"
    at_random = ("robustness", "transnas-micro")
    chosen = families.family_of(name) in at_random and members.index(name) % 2 == 0
    return "dev" if chosen or name == "nasbench201/cifar10@200" or name.startswith("own201/") else "kept"
