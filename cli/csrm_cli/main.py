"""Entry point of ``csrm``: the table of commands, each imported when it is called, so that the help is quick.

Knows where each command lives; knows nothing of what a command does. A new command is one file in
``commands/`` and one row here.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from csrm_cli.errors import explain, keep_traceback


@dataclass(frozen=True)
class Row:
    """One command: the object that runs it, as ``module:attribute``, and its line in the help.

    The object is a function with typer's annotations, or a ``typer.Typer`` where there are commands below it.
    """

    target: str
    help: str


COMMANDS = {
    "gateway": Row("csrm_cli.commands.gateway:gateway", "Run the gateway in front of an OpenSearch cluster."),
    "report": Row("csrm_cli.commands.report:report", "Compare the sides of an A/B test of the gateway."),
    "serve": Row("csrm_cli.commands.serve:serve", "Run the relevance model on Ray Serve."),
    "install": Row(
        "csrm_cli.commands.install:app", "Install index templates or a search pipeline into OpenSearch."
    ),
    "uninstall": Row("csrm_cli.commands.uninstall:app", "Take a search pipeline back out of OpenSearch."),
    "doctor": Row(
        "csrm_cli.commands.doctor:doctor", "Check a search pipeline, from the node to a scored hit."
    ),
    "knowledge": Row("csrm_cli.commands.knowledge:app", "Check and build what the model is told of queries."),
    "data": Row("csrm_cli.commands.data:app", "Make and check labelled rows."),
    "train": Row("csrm_cli.commands.train:train", "Train a relevance model by a recipe."),
    "average": Row("csrm_cli.commands.average:average", "Make one adapter of several."),
    "fit-exit": Row("csrm_cli.commands.fit_exit:fit_exit", "Give a trained adapter an early exit."),
    "fit-encoder": Row(
        "csrm_cli.commands.fit_encoder:fit_encoder", "Give a trained adapter a cross-encoder beside it."
    ),
    "evaluate": Row("csrm_cli.commands.evaluate:evaluate", "Measure a bundle on labelled pairs."),
    "calibrate": Row(
        "csrm_cli.commands.calibrate:calibrate", "Fit calibration and thresholds on a clean dev set."
    ),
    "bench": Row("csrm_cli.commands.bench:app", "Measure how fast this machine scores."),
    "base": Row("csrm_cli.commands.base:base", "Make the base weights ready, once a machine."),
}


class LazyGroup(TyperGroup):
    """A group whose help comes from the table and whose commands are imported when they are called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, row in COMMANDS.items():
            self.add_command(TyperCommand(name, help=row.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The called command itself in place of the stub that stands for it in the help."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


def load(name: str) -> Any:
    """Import one command of the table.

    Args:
        name: a key of ``COMMANDS``.

    Returns:
        The command (a ``TyperCommand`` or ``TyperGroup``), ready to be invoked.
    """
    module, attribute = COMMANDS[name].target.split(":")
    target = getattr(import_module(module), attribute)
    if not isinstance(target, typer.Typer):
        wrapper = typer.Typer(add_completion=False)
        wrapper.command(name)(target)
        target = wrapper
    return typer.main.get_command(target)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="CSRM for OpenSearch: a relevance model between the index and the shopper.",
)


_debug = False
"""Whether ``--debug`` was given; ``run`` needs it when the command line's own context is gone."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"csrm {version('csrm-opensearch')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, and show tracebacks.")] = False,
) -> None:
    global _debug
    _debug = debug
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    if not debug:  # the client logs its every request, and a failed one with a traceback
        logging.getLogger("opensearch").setLevel(logging.ERROR)


def run() -> None:
    """Run ``csrm``. Typer exits with 2 on wrong usage and 130 on Ctrl-C; ``errors`` explains the rest."""
    try:
        app()
    except Exception as error:
        failure = explain(error)
        if _debug:
            raise
        sentence = failure.sentence
        if failure.unexpected:
            sentence += f" The traceback is in {keep_traceback(error)}; --debug shows it."
        typer.echo(f"csrm: {sentence}", err=True)
        sys.exit(failure.exit_code)


if __name__ == "__main__":
    run()
