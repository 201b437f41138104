"""What every job is: its options, and a run that ends in one JSON document and an exit code.

    module of a job:  ABOUT                                 one sentence, for --help
                      add_arguments(parser)                 its options
                      run(settings, given, say) -> Result   the work; raises PipelineError

Exit codes: 0 done · 65 bad data, do not retry · 75 try again · 78 misconfigured, do not retry · 99 hold: what comes after
is skipped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured

HOLD: Final = 99

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a job ended.

    Attributes:
        fields: what whoever started it may want to know; values are JSON's.
        exit_code: 0; 65 when it did all it could and some of its data was bad; 75 when it has to be started again; 99.
    """

    fields: Mapping[str, object]
    exit_code: int = 0


def hand_over(document: str, file: Path | None) -> None:
    """Gives the result to whoever started the job.

    Raises:
        Misconfigured: the file cannot be written.
    """
    if file is None:
        sys.stdout.write(f"{document}\n")
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(document + "\n", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            f"cannot write the result to {file}: {error.strerror}; give --result another file"
        ) from error
