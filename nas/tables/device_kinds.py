"""The kind of a device, from its name in a table: what architectures cost is alike on devices of one kind."""

from __future__ import annotations

import re

_KINDS = {
    "gpu": r"\d{4}ti|titan\w*|rtx\w*|gtx\w*|tesla\w*|[avht]\d{2,3}|edgegpu|jetson\w*|gpu",
    "cpu": r"gold|silver|bronze|platinum|xeon\w*|core\w*|epyc\w*|ryzen\w*|cpu",
    "phone": r"pixel\w*|samsung|galaxy\w*|essential|iphone\w*|mi\d+|phone",
    "board": r"raspi\w*|rpi\w*|raspberry\w*",
    "fpga": r"fpga\w*|zcu\w*|vu9p|pynq\w*",
    "accelerator": r"eyeriss\w*|edgetpu|tpu\w*|npu\w*|accelerator",
}
"""Of the first word of a device's name, as HW-NAS-Bench, HELP and NAS-Bench-360 have them: `gold_6240`, `titanx_32` (a batch of
32), `cifar10:edgegpu`."""


def kind_of(name: str) -> str | None:
    """`gpu`, `cpu`, `phone`, `board`, `fpga` or `accelerator`; None for a device that is not known."""
    word = name.rpartition(":")[2].lower()
    first = re.split(r"[_\-. ]", word)[0]
    return next((kind for kind, pattern in _KINDS.items() if re.fullmatch(pattern, first)), None)
