"""How a job's end becomes its task's end, the same for a pod and for a process.

exit code ─► outcome ─► the result, or: JobRefused (not tried again) · JobFailed (tried again) · skipped
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from airflow.sdk import literal
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from sightline_airflow.outcome import Outcome, outcome, words

RETURN: str = "return_value"


class JobFailed(AirflowException):
    """A job that may do better the next time."""


class JobRefused(AirflowFailException):
    """A job that would end the same every time: its task is not tried again."""


def end(context: Any, job: str, exit_code: int | None, *, result: Any = None, tail: Iterable[str] = ()) -> Any:
    """Returns the result of a job that is done; of any other it is kept as XCom before this raises.

    Raises:
        JobRefused: exit code 65 or 78.
        AirflowSkipException: exit code 99.
        JobFailed: any other.
    """
    if outcome(exit_code) is Outcome.DONE:
        return result
    if result is not None:
        context["ti"].xcom_push(key=RETURN, value=result)
    raise failure(job, exit_code, result=result, tail=tail)


def failure(job: str, exit_code: int | None, *, result: Any = None, tail: Iterable[str] = ()) -> AirflowException:
    """What to raise for an exit code that is not 0."""
    said = words(job, exit_code, result=result, tail=tail)
    match outcome(exit_code):
        case Outcome.SKIPPED:
            return AirflowSkipException(said)
        case Outcome.FAILED:
            return JobRefused(said)
        case _:
            return JobFailed(said)


def resolved(command: Sequence[str] | Callable[[Any], Sequence[str]], context: Any) -> Sequence[str]:
    """The words themselves, where a function was given."""
    return list(command(context)) if callable(command) else command


def literally(command: Any) -> Any:
    """Words that Airflow's templates leave as they are. What a task before this one returned is no template anyway."""
    return [literal(word) for word in command] if isinstance(command, list | tuple) else command
