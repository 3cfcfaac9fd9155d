"""The options of `nas meta-train` in version 0.1: each answers with what takes its place."""

from __future__ import annotations

from collections.abc import Callable

import click

from search_spaces import UserError

_FORMER = {
    "--describe": "--learner transfer_gp --learner-option pca_steps=N",
    "--read": "--learner rl2 --learner-option predict_steps=N",
    "--reinforce": "--learner rl2 --learner-option policy_steps=N",
    "--share": "--task-fraction",
    "--synthetic/--no-synthetic": "--learner rl2 --learner-option synthetic=true or false",
    "--task-features/--no-task-features": "--learner-option task_features=true or false",
    "--atlas/--no-atlas": "--learner-option per_arch_memory=true or false",
    "--properties/--no-properties": "--learner-option auxiliary_columns=true or false",
    "--trusted/--untrusted": "--learner rl2, whose prior is for the controller attention_policy",
}
"""Options of version 0.1 and what takes their place."""


def refuse_former(function: Callable) -> Callable:
    """With the options of version 0.1, each of which answers with those of today."""

    def refuse(context: click.Context, option: click.Parameter, value: object) -> None:
        if value is not None:
            raise UserError(f"{option.opts[0]} is no longer an option; instead: {_FORMER['/'.join(_names(option))]}.")

    for names in _FORMER:
        option = click.option(
            names,
            is_flag="/" in names,
            default=None,
            hidden=True,
            expose_value=False,
            callback=refuse,
            help="Of version 0.1.",
        )
        function = option(function)
    return function


def _names(option: click.Parameter) -> list[str]:
    return [*option.opts, *option.secondary_opts]
