"""The command `nas`. Every file in `nas/commands` is one subcommand, imported only when it is called."""

from __future__ import annotations

import ast
import contextlib
import errno
import importlib
import io
import logging
import os
import re
import sys
from pathlib import Path

import click

from nas import _crash, _interrupts
from nas.terminal import printable
from search_spaces import UserError, unknown

_FOLDER = Path(__file__).parent / "commands"
_NO_MEMORY = ("can't allocate memory", "out of memory")
"""What PyTorch says then, on a CPU and on a GPU."""
_STOPPED = "Stopped. What was stored before is whole; the same command begins again, or goes on where it was."
"""After Ctrl-C where the command itself says nothing more exact, as while it loads."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(f.stem.replace("_", "-") for f in _FOLDER.glob("*.py") if not f.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(f"nas.commands.{cmd_name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What each is for, read from its file's text: importing them all takes seconds."""
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(n, click.Command(n, help=_help(n)).get_short_help_str(room)) for n in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.list_commands(ctx):
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def _help(name: str) -> str | None:
    """The docstring of a command's function."""
    tree = ast.parse((_FOLDER / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
    return next(ast.get_docstring(f) for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == "command")


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="metacell", prog_name="nas")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Neural architecture search with a meta-learned controller: from a task to a trained cell, a torch module."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: list[str] | None = None) -> None:
    """Run the command line; a user's error is one line on standard error and exit status 2, one of our own is one and 70.

    With NAS_TRACEBACK=1 our own errors are shown as Python shows them.
    """
    _take_any_environment()
    try:
        with _interrupts.after_imports():
            _run(args)
    finally:
        _flush()


def _run(args: list[str] | None) -> None:
    try:
        sys.exit(cli.main(args, prog_name="nas", standalone_mode=False) or 0)
    except SystemExit as error:
        # A component that exits would end the command with the status of its choice, 0 among them.
        if (line := _crash.line_of_outside(error, sys.argv[1:] if args is None else args)) is not None:
            _fail(line)
        raise
    except (KeyboardInterrupt, click.Abort):  # An Abort is a RuntimeError too.
        click.echo(_STOPPED, err=True)
        sys.exit(130)
    except click.NoSuchOption as error:
        shown = [name for name in error.possibilities or () if name in _shown_options(error.ctx)]
        _fail(click.NoSuchOption(error.option_name, possibilities=shown, ctx=error.ctx).format_message())
    except click.ClickException as error:
        _fail(error.format_message())
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno in _DISK_FULL:
            _fail(
                f"{error.strerror}. What was stored before is whole: free some space, then say the same again; a run that is "
                "there already goes on by nas resume."
            )
        _fail(_words(error, sys.argv[1:] if args is None else args))
    except Exception as error:
        if isinstance(error, MemoryError) or any(said in str(error) for said in _NO_MEMORY):
            _fail(
                "There is not enough memory for this; fewer --seeds, a smaller --batch and a smaller -t image_size take less."
            )
        if os.environ.get("NAS_TRACEBACK") == "1":
            raise
        given = sys.argv[1:] if args is None else args
        if (line := _crash.line_of_outside(error, given)) is not None:
            _fail(line)
        click.echo(f"nas: {_crash.line(error, given)}", err=True)
        sys.exit(_crash.STATUS)


def _shown_options(ctx: click.Context | None) -> set[str]:
    """The options that a command's help shows: names of earlier versions are taken, and never suggested."""
    records = [] if ctx is None else [param.get_help_record(ctx) for param in ctx.command.get_params(ctx)]
    return {word for record in records if record for word in re.findall(r"--[\w-]+", record[0])}


def _take_any_environment() -> None:
    """Let no setting that notebooks, cron or old terminals leave behind stop a command."""
    _open_standard_streams()
    # It warns of a home that is missing or cannot be written; its fonts are then found anew each time, which is no error.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # A notebook's backend of matplotlib is not there outside of it; figures here are written to files and need none.
    os.environ.pop("MPLBACKEND", None)
    for stream in (sys.stdout, sys.stderr):
        # Where the encoding is ASCII or cp1252, a letter that it lacks is written as its escape.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _open_standard_streams() -> None:
    """Give what a service started without standard input or output the null device in their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, which is this one: a run's database opened as number 1 would take what is printed.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  Open as long as the process.


def _flush() -> None:
    """Write what is buffered while an error can still be caught: Python would end with a status of its own, 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # A disk that is full; that has been said, or nobody can read it.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _words(error: OSError, args: list[str]) -> str:
    """What failed, of which file; and what would do where nothing can be made there."""
    what = error.strerror or str(error)
    if not error.filename:
        return f"{what}."
    makes = error.errno == errno.EROFS or (error.errno == errno.EACCES and not os.path.lexists(error.filename))
    # A file is written beside its place and then renamed: its own name is what its user knows.
    named = re.sub(r"\.([^/]+)\.[^./]+\.\d+\.partial$", r"\1", os.fsdecode(error.filename))
    hint = f" Start in a folder that can be written, or name one by {_place_option(args)}." if makes else ""
    return f"{what}: '{named}'.{hint}"


def _place_option(args: list[str]) -> str:
    """What says where a command writes: its option, or the variable that says where runs are."""
    command: click.Command | None = cli
    for word in args:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(click.Context(command), word)
        command = command if found is None else found
    options = {option for param in command.params for option in param.opts} if command is not None else set()
    return next((option for option in ("--to", "--out") if option in options), "NAS_RUNS")


def _fail(message: str) -> None:
    click.echo(f"nas: {printable(' '.join(message.split()))}", err=True)
    sys.exit(2)
