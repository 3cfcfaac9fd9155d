"""The folder of a comparison that names none: the same command comes back to it and goes on, another has another."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import Any

from nas.compare import trial
from nas.compare.trial import TrialSpec
from nas.text import file_name

_LONGEST = 60
"""Characters that say what is compared: file systems take 255 bytes, and a listing should stay readable."""


def folder_name(patterns: str, specs: list[TrialSpec]) -> str:
    """A name that holds what is compared.

    Args:
        patterns: the tasks as they were asked for: a family has many, and one name.
        specs: all trials of the comparison.
    """
    controllers = dict.fromkeys(trial.named(spec.controller)[0].rpartition(":")[2] for spec in specs)
    words = file_name("-".join([patterns, *controllers]))[:_LONGEST].strip("-.")
    # The words are for people and may collide; the digest tells comparisons apart. Priors, own sources and tables count by their
    # name and not by their content, as in a folder that is given: what has changed is run again there.
    asked = json.dumps([_asked(spec) for spec in specs])
    return f"compare-{words}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def _asked(spec: TrialSpec) -> dict[str, Any]:
    """What counts of a trial. One objective is not named, so that a comparison comes back to the folder of an earlier version."""
    named = asdict(replace(spec, prior="", source=""))
    return {key: value for key, value in named.items() if key != "data" and (key != "aim" or value)}
