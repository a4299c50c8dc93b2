"""``python -m demo``: runs the demo and ends it, whatever happens, in one sentence, no process left."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from contextlib import ExitStack
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from csrm_cli.errors import explain
from demo import run, screen
from demo.errors import DemoError
from demo.service import BUILD, ROOT

_LOG = BUILD / "demo.log"
_TERMINATED = 143
_INTERRUPTED = 130


def main() -> int:
    """Run the demo.

    Returns:
        the exit code: 0 done, 1 failed, 130 interrupted before there was a result, 143 terminated.
    """
    parser = argparse.ArgumentParser(prog="make demo", description="CSRM on the demo shop, every part real.")
    parser.add_argument("--once", action="store_true", help="stop after the report, as without a terminal")
    parser.add_argument(
        "--queries", type=int, metavar="N", help="only the first N of each locale, for a quick look"
    )
    options = parser.parse_args()
    if options.queries is not None and options.queries < 1:
        parser.error("--queries: at least 1")
    once = options.once or not (sys.stdin.isatty() and sys.stdout.isatty())
    console = screen.make_console()
    _log_to_file()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        with ExitStack() as servers:
            try:
                urls = run.start(servers, console)
                run.save(run.measure(urls, console, options.queries))
                console.print(f"\nFigures: {run.REPORT.relative_to(ROOT)}")
                if not once:
                    _stay(urls, console)
            finally:
                _ignore_signals()  # a second Ctrl-C must not cut the stopping short
                servers.callback(console.print, "Stopping")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        logging.getLogger("demo").error("the demo failed", exc_info=error)
        console.print(f"[red]✗[/] {escape(_sentence(error))}", soft_wrap=True)
        return 1
    return 0


def _stay(urls: run.Urls, console: Console) -> None:
    """Show where everything is and wait for Ctrl-C."""
    console.print(
        f"\n  gateway        {urls.gateway}   [dim](give this address to your OpenSearch client)[/]\n"
        f"  playground     {urls.gateway}/_csrm/\n"
        f"  Ray dashboard  {urls.dashboard}   [dim](its token: .venv/bin/ray get-auth-token)[/]\n"
        f"  OpenSearch     {urls.opensearch}\n\n"
        "Ctrl-C stops everything."
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _sentence(error: Exception) -> str:
    log = _LOG.relative_to(ROOT)
    if isinstance(error, DemoError):
        return str(error)
    failure = explain(error)
    return (
        f"{failure.sentence.splitlines()[0]} {'The traceback' if failure.unexpected else 'More'} is in {log}."
    )


def _log_to_file() -> None:
    _LOG.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=_LOG,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.captureWarnings(True)


def _terminate(*_: object) -> NoReturn:
    sys.exit(_TERMINATED)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
