"""`nas few-shot`: train a learner over episodes, test it on classes it has not seen.

`test` asks a trained one by other episodes; `classify` learns new classes with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nas.commands import _few_shot_options, _few_shot_training, _shared
from nas.commands._kinds import GivenPath
from nas.few_shot import classify as classifying
from nas.few_shot import export, result, run
from nas.few_shot.episodes import Size
from nas.few_shot.run import Config
from nas.run import classify as image_names
from nas.run.lock import lock
from nas.terminal import printable
from nas.text import file_name
from search_spaces import UserError

_IN_PART = 1
"""Exit status where some images could not be read."""


@click.group(invoke_without_command=True)
@_few_shot_options.learning
@click.option("--minutes", type=float, help="Time to train for: settles the steps by how long a few take. Default: 1.")
@click.option("--steps", type=int, help="Steps of training instead of --minutes.")
@click.option("--episodes", type=int, help=f"Test episodes. Default: {Config.episodes}, or as the run began.")
@click.option("--settings", type=GivenPath(path_type=Path), help="A file of `nas tune`: the learner and its settings.")
@click.option("--name", help="Of the run. Default: made from the data, the learner and the episodes.")
@click.option(
    "--resume", help="The name of a run that goes on as it was begun; of other options only --episodes is looked at."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Train a learner on episodes of a few images a class, and test it on classes that it has not seen.

    The run keeps the training and an export of the result. The same command goes on where it was stopped.

    \b
    Example:
      nas few-shot --learner prototypical --arch 32:32:32:0:max_pool --steps 40 --queries 5
    """
    if ctx.invoked_subcommand is None:
        _train(**options)


def _train(
    name: str | None, resume: str | None, minutes: float | None, episodes: int | None, as_json: bool, **asked: Any
) -> None:
    if minutes is not None and not 0 < minutes < float("inf"):
        raise UserError(f"--minutes is {minutes}; it takes a number above zero.")
    steps = asked.pop("steps")
    if steps is not None and not 0 < steps < 2**24:
        raise UserError(f"--steps is {steps}; it takes a number from 1 to {2**24 - 1}.")
    if minutes is not None and steps is not None:
        raise UserError("--minutes and --steps both say how long to train; choose one.")
    if episodes is not None:
        _check_episodes(episodes)
    if resume is not None:
        folder = _folder(resume)
        config = run.read_config(folder)
    else:
        config = _few_shot_options.config(**asked, steps=steps or 0, episodes=episodes or Config.episodes)
        folder = _folder(_default_name(config) if name is None else name)
    document = _few_shot_training.work(folder, config, minutes, episodes, quiet=as_json)
    if as_json:
        _shared.print_json(document)
    else:
        click.echo(printable(_lines(document)))


def _check_episodes(episodes: int) -> None:
    if episodes < 2:
        raise UserError(f"--episodes is {episodes}; it takes 2 or more.")


def _folder(name: str) -> Path:
    if not name.strip():
        raise UserError("The name of the run is empty.")
    path = Path(name).expanduser()
    return path if len(path.parts) > 1 else _shared.runs_root() / name


def _default_name(config: Config) -> str:
    return file_name(
        f"few-shot-{Path(config.data).stem}-{config.learner}-{config.way}way-{config.shot}shot-{config.seed}"
    )


def _lines(document: dict[str, Any]) -> str:
    return f"{_tested(document)}\nexport   {document['export']}"


def _tested(document: dict[str, Any]) -> str:
    test = document["test"]
    return (
        f"{document['folder']}  {document['learner']}, {document['way']}-way {document['shot']}-shot\n"
        f"accuracy {test['accuracy']:.2f}% +- {test['interval']:.2f} (95%) over {test['episodes']} episodes of unseen classes; "
        f"chance is {100 / document['way']:.1f}%"
    )


@command.command()
@click.argument("trained", metavar="RUN")
@click.option("--way", type=int, help="Classes of an episode. Default: as trained.")
@click.option("--shot", type=int, help="Images of each class to learn from. Default: as trained.")
@click.option("--queries", type=int, help="Images of each class that a test asks about. Default: as trained.")
@click.option("--episodes", default=Config.episodes, show_default=True, help="Test episodes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def test(trained: str, way: int | None, shot: int | None, queries: int | None, episodes: int, as_json: bool) -> None:
    """Test RUN, a finished run of `nas few-shot`, by episodes of another size than it was trained for.

    Learners of distances, LEO and neural processes take any --way. The others answer for as many classes as they were trained
    for. What was asked is kept in the run's tests.json.

    \b
    Example:
      nas few-shot test runs/few --way 8 --shot 5
    """
    _check_episodes(episodes)
    folder = _folder(trained)
    config, state = run.read(folder)
    asked = {"way": config.way if way is None else way, "shot": config.shot if shot is None else shot}
    asked["queries"] = config.queries if queries is None else queries
    run.check_episodes(**asked)
    with lock(folder, "training"):
        document = result.test(folder, run.prepare(config), state, Size(episodes, **asked))
    if as_json:
        _shared.print_json(document)
    else:
        click.echo(printable(_tested(document)))


@command.command()
@click.argument("export_folder", metavar="EXPORT")
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--support", "support_folder", required=True, type=click.Path(path_type=Path),
    help="A folder with a sub-folder of a few images for each class.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def classify(export_folder: str, images: tuple[str, ...], support_folder: Path, as_json: bool) -> None:
    """Name the class of each of IMAGES by EXPORT, a run of `nas few-shot` or its export, from a few images of each class.

    IMAGES are files, folders and patterns. The classes are those of --support, which the learner need never have seen. A file
    that cannot be read gets a line and stops nothing; the exit status is then 1.

    \b
    Example:
      nas few-shot classify runs/few --support few_images new/*.jpg
    """
    folder = Path(export_folder)
    exported = export.read(folder if folder.is_dir() else _folder(export_folder))
    given = classifying.support(exported, support_folder)
    files = [file for file, _ in image_names.images(images)]
    answers = []
    for answer in classifying.classify(exported, given, files):
        answers.append(answer)
        if answer.failure:
            click.echo(f"nas: '{printable(str(answer.image))}': {printable(answer.failure)}", err=True)
        elif not as_json:
            best, share = next(iter(answer.probabilities.items()))
            click.echo(printable(f"{answer.image}  {best} {share:.1%}"))
    if as_json:
        _shared.print_json({
            "classes": given.names,
            "images": [
                {"image": str(a.image), "probabilities": a.probabilities} for a in answers if not a.failure
            ],
            "failed": [{"image": str(a.image), "reason": a.failure} for a in answers if a.failure],
        })  # fmt: skip
    if any(answer.failure for answer in answers):
        raise SystemExit(_IN_PART)
