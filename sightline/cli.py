"""The command line.

    sightline up|down|status|logs|demo      the local stack
    sightline send SOURCE --camera ID       a camera
    sightline audit · trace FRAME_ID        where is every frame, where is this one
    sightline connectors · contracts · dead-letters
    sightline erase CAMERA                  everything of one camera goes
    sightline model ...                     train, deliver, judge, promote, roll back
    sightline login · logout · token · auth doctor

Exit codes: 0 done · 1 the answer is no · 2 wrong usage · 65 bad data · 75 try again · 78 misconfigured ·
99 the gate says hold.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
from typing import Final

import typer

from contracts.errors import Misconfigured, PipelineError, Transient
from sightline.stack.proxies import past_proxies

COMMANDS: Final = (
    "stack",
    "demo",
    "send",
    "audit",
    "trace",
    "connectors",
    "contracts",
    "dead_letters",
    "erase",
    "model",
    "login",
)
# A folder or file that cannot be written, wherever a command comes upon it: for a person to mend, and no fault of ours.
_OF_A_DISK: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
)

app = typer.Typer(
    name="sightline",
    help="Cameras in, reviewed detections and better models out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name in COMMANDS:
    importlib.import_module(f"sightline.commands.{_name}").register(app)


def main() -> None:
    """Runs the command line. Our own errors end in one line and their exit code, never in a traceback."""
    # A broker that is away is told once, in our own words, not by each of the library's attempts.
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)
    os.environ.update(past_proxies(os.environ))  # before any client is made: each reads it by itself
    try:
        app()
    except PipelineError as error:
        hint = {Transient: " (try again; `sightline status` shows what is away)", Misconfigured: ""}.get(
            type(error), ""
        )
        print(f"sightline: {error}{hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OF_A_DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"sightline: {where}{error.strerror}. Make room or mend the permissions, or move the stack with "
            "SIGHTLINE_STACK__HOME",
            file=sys.stderr,
        )
        sys.exit(Misconfigured.exit_code)


if __name__ == "__main__":
    main()
