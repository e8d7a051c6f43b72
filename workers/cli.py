"""The `saetrack` command: its list of commands, its errors and its exit codes.

    0 done   1 something failed here   2 the input or an option is wrong   130 interrupted

A command's module is imported when the command runs, so that `saetrack --help`
answers at once and without torch.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import NamedTuple

import click

from annotations.errors import SaetrackError, StorageError, ToolError, WeightsError

DEBUG_VARIABLE = "SAETRACK_DEBUG"
"""Environment variable; ``1`` shows the stack trace of an error."""

INSTALLATION_ERRORS = (StorageError, ToolError, WeightsError)
"""Errors that another input would not cure."""


class Command(NamedTuple):
    """Where a command lives, and the line `--help` shows for it."""

    module: str
    attribute: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "annotate": Command("workers.commands.annotate", "annotate", "Features, peaks and matches."),
    "merge": Command("workers.commands.merge", "merge", "Results of a run in parts."),
    "query": Command("workers.commands.query", "query", "Which features match a TF."),
    "causal": Command("workers.commands.causal", "causal", "Whether a motif moves a feature."),
    "signal": Command("workers.commands.signal", "signal", "One feature as a bigWig track."),
    "figure": Command("workers.commands.figure", "figure", "A region as a figure for papers."),
    "atlas": Command("workers.commands.atlas", "atlas", "Make and share labels of features."),
    "genomes": Command("workers.commands.genomes", "genomes", "Reference genomes under a name."),
    "models": Command("workers.commands.models", "models", "The models that can be run."),
    "serve": Command("workers.commands.serve", "serve", "The REST service and its worker."),
    "token": Command("workers.commands.token", "token", "Tokens by which users ask a service."),
    "worker": Command("workers.commands.worker", "worker", "One more worker for a service."),
    "migrate": Command("workers.commands.migrate", "migrate", "Bring the database up to date."),
    "gc": Command("workers.commands.gc", "gc", "Delete stored files that nothing points to."),
    "train": Command("workers.training.cli", "train", "Train a language model or an SAE."),
}
"""Every command, in the order of `--help`."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order of `--help`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, or None."""
        if cmd_name not in COMMANDS:
            return None
        where = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(where.module), where.attribute)
        if not isinstance(found, click.Command):
            raise TypeError(f"{where.module}.{where.attribute} is no click command")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("saetrack"), message="saetrack %(version)s")
def cli() -> None:
    """Features of genome language models on your DNA, and the TF motifs they match.

    \b
    Annotate a sequence, then ask which features match a transcription factor:
      saetrack annotate chrI.fa --genes chrI.gff3 --taxon fungi --out chrI
      saetrack query chrI --tf Reb1

    \b
    The same over HTTP:
      saetrack serve

    SAETRACK_DEBUG=1 shows the stack trace of an error.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after `saetrack`; those of the process by default.
    """
    # so that temporary folders are removed then, too; serve and worker have their own handlers
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; an error is one line on standard error.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after `saetrack`; those of the process by default.

    Returns
    -------
    code : int
        As the module's docstring says.
    """
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="saetrack",
            standalone_mode=False,
        )
    except click.ClickException as error:
        return _failed(error, _usage(error), code=2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except SaetrackError as error:
        return _failed(error, str(error), code=1 if isinstance(error, INSTALLATION_ERRORS) else 2)
    except BrokenPipeError:
        # whoever read our output has left; nothing is to be said, nor flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return _failed(error, f"{error.strerror or error}{where}", code=1)
    except Exception as error:  # noqa: BLE001 - the one place that answers for a bug
        what = f"internal error, {type(error).__name__}: {error}"
        return _failed(error, f"{what}; {DEBUG_VARIABLE}=1 shows where", code=1)
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException) -> str:
    """The message of a wrong command line, and where to read on."""
    context = getattr(error, "ctx", None)
    hint = f"; `{context.command_path} --help` shows how" if context is not None else ""
    return f"{error.format_message().rstrip('.')}{hint}"


def _failed(error: BaseException, message: str, *, code: int) -> int:
    """Say on one line what went wrong; the trace only where it is asked for."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        traceback.print_exception(error)
    click.echo("error: " + " ".join(message.split()), err=True)
    return code


if __name__ == "__main__":
    main()
