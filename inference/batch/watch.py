"""The watch window after a promotion: the new champion proves itself, or the previous one comes back.

    promotion ─► previous champion as shadow ─► every few seconds: figures ─► judge
                    a cause, over enough frames ─────────────────► POST /v1/models/{version}/rollback ─► exit 99
                    the window is over, enough seen ─────────────► kept                               ─► exit 0
                                        too little seen ─────────► extended; after the last extension ─► exit 75
                    somebody made another version champion ──────► nothing left to watch              ─► exit 99

Ledger and figures are read from Postgres, so a window that was interrupted goes on where it was: it begins with the
promotion, not with this process. Killed between the rollback and its result, the next run finds it in the ledger.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from connectors.api_client import Api, quoted
from contracts.errors import Rejected
from contracts.logs import get_logger
from contracts.settings import Settings
from inference.batch.job import HOLD, Result, Say
from inference.domain.gate_file import Watch
from inference.domain.promotion import CHALLENGER
from inference.domain.watch_window import Figures, Judgement, Outcome, judge
from inference.persistence import connect, ledger, watch_figures
from inference.persistence.ledger import WATCH_WINDOW, Promotion
from inference.registry.gate_files import gate_file

ABOUT: Final = "Watches a new champion through its window and has it rolled back on a cause."

SETTLING: Final = timedelta(seconds=10)  # until every replica serves it: frames captured before are not the champion's
STILL_OPEN: Final = 75
_LONGEST_REASON: Final = 500

_log = get_logger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's options."""
    parser.add_argument("--promotion", type=int, required=True, help="row of the ledger that is watched")
    parser.add_argument("--poll-seconds", type=float, default=10.0, help="between two looks")
    parser.add_argument("--max-extensions", type=int, default=3, help="of the window, while too little was seen")
    parser.add_argument("--gate", type=Path, help="the gate file; the committed one without")


def run(settings: Settings, given: argparse.Namespace, say: Say) -> Result:
    """Watches until the window ends.

    Raises:
        Rejected: no such promotion, it is not done, or there was no champion before it.
        Misconfigured: the gate file does not fit, or the account may not roll back.
        Transient: Postgres or the API is away.
    """
    asked = thresholds(settings, given.gate)
    row = _promotion(settings, given.promotion)
    with Api(settings) as api:
        window = _Window(settings, row, asked, api, say)
        return window.watch(poll_seconds=given.poll_seconds, max_extensions=given.max_extensions)


def thresholds(settings: Settings, file: Path | None) -> Watch:
    """What must hold after a promotion.

    Raises:
        Misconfigured: there is no such gate file, or it does not fit.
    """
    return gate_file(settings, file).gate.watch


def _promotion(settings: Settings, number: int) -> Promotion:
    with connect(settings) as connection:
        row = ledger.find(connection, settings.mlflow.model_name, number)
    if row is None or row.state != "done":
        state = "there is none" if row is None else f"it is {row.state}"
        raise Rejected(
            f"promotion {number} cannot be watched, {state}: `sightline model history` lists them",
            code="unknown_promotion",
        )
    if row.previous_version is None:
        raise Rejected(
            f"promotion {number} made the first champion: there is none before it to go back to",
            code="no_previous_champion",
        )
    return row


class _Window:
    """One promotion, being watched."""

    def __init__(self, settings: Settings, row: Promotion, asked: Watch, api: Api, say: Say) -> None:
        assert row.previous_version is not None
        assert row.done_at is not None
        self._settings = settings
        self._row = row
        self._previous = row.previous_version
        self._begin = row.done_at
        self._asked = asked
        self._api = api
        self._say = say

    def watch(self, *, poll_seconds: float, max_extensions: int) -> Result:
        """Looks until something ends the window. The rollback comes before the result: a lost result is found again."""
        self._begin_shadow()
        length, extensions = timedelta(minutes=self._asked.minutes), 0
        while True:
            now = datetime.now(UTC)
            if (other := self._superseded()) is not None:
                return other
            seen = self._figures(now)
            said = judge(seen, self._asked)
            if said.outcome is Outcome.ROLL_BACK:
                if self._roll_back(said):
                    return self._result("rolled_back", seen, said, now, extensions, exit_code=HOLD)
                continue  # somebody was quicker
            end = self._begin + length * (1 + extensions)
            if now >= end and said.outcome is Outcome.KEEP:
                self._end_shadow()
                return self._result("kept", seen, said, now, extensions)
            if now >= end and extensions >= max_extensions:
                return self._result("open", seen, said, now, extensions, exit_code=STILL_OPEN)
            if now >= end:
                extensions += 1
                self._say(f"extended ({extensions} of {max_extensions}): only {', '.join(said.lacking)}")
                continue
            time.sleep(min(poll_seconds, max((end - now).total_seconds(), 0.05)))

    def _figures(self, now: datetime) -> Figures:
        with connect(self._settings) as connection:
            return watch_figures.read(
                connection,
                model=self._row.model,
                version=self._row.version,
                previous=self._previous,
                since=self._begin + SETTLING,
                until=now,
                most=max(self._asked.frames, watch_figures.MOST_FRAMES),
            )

    def _superseded(self) -> Result | None:
        """How the window ended when the version is no longer champion; None while it is."""
        with connect(self._settings) as connection:
            champion = ledger.champion_of(connection, self._row.model)
        if champion is None or champion.id == self._row.id:
            return None
        is_ours = champion.approved_by == WATCH_WINDOW and champion.previous_version == self._row.version
        outcome = "rolled_back" if is_ours else "superseded"
        self._say(f"{outcome}: version {champion.version} is champion since ({champion.reason})")
        fields = {"causes": [champion.reason], "champion": champion.version, "by_promotion": champion.id}
        return Result(fields=self._about(outcome) | fields, exit_code=HOLD)

    def _roll_back(self, said: Judgement) -> bool:
        """Has the previous champion come back. False: the version is not champion any more."""
        body = {
            "reason": "; ".join(said.causes)[:_LONGEST_REASON],
            "on_behalf_of": {"id": WATCH_WINDOW, "name": WATCH_WINDOW},
        }
        try:
            self._api.post(f"/v1/models/{quoted(self._row.version)}/rollback", body)
        except Rejected as error:
            if error.code == "not_champion":
                return False
            raise
        return True

    def _begin_shadow(self) -> None:
        """Has the previous champion look at the same frames: as challenger, unless somebody else is that."""
        named = self._challenger()
        if named in {None, self._row.version}:  # the API keeps for 2 s what MLflow said: the alias has gone by now
            try:
                self._api.post(f"/v1/models/{quoted(self._previous)}/challenger")
            except Rejected as error:
                self._say(f"version {self._previous} cannot be the shadow, so agreement stays unknown: {error}")
        elif named != self._previous:
            self._say(f"version {named} is challenger: the agreement with version {self._previous} stays unknown")

    def _end_shadow(self) -> None:
        if self._challenger() == self._previous:
            try:
                self._api.delete(f"/v1/models/{quoted(self._previous)}/challenger")
            except Rejected as error:
                self._say(f"version {self._previous} stays challenger: {error}")

    def _challenger(self) -> str | None:
        versions = self._api.get("/v1/models")["items"]
        return next((str(one["version"]) for one in versions if CHALLENGER in one["aliases"]), None)

    def _result(
        self, outcome: str, seen: Figures, said: Judgement, now: datetime, extensions: int, *, exit_code: int = 0
    ) -> Result:
        _log.info(
            "watch_ended", outcome=outcome, promotion=self._row.id, model_version=self._row.version,
            causes=list(said.causes), lacking=list(said.lacking), extensions=extensions,
        )  # fmt: skip
        self._say(
            f"{outcome}: version {self._row.version}, {seen.frames} frames; {'; '.join(said.causes) or 'no cause'}"
        )
        if said.lacking:
            self._say(f"only {', '.join(said.lacking)}")
        found: dict[str, object] = {
            "causes": list(said.causes),
            "lacking": list(said.lacking),
            "extensions": extensions,
            "since": (self._begin + SETTLING).isoformat(),
            "until": now.isoformat(),
            "figures": asdict(seen),
        }
        return Result(fields=self._about(outcome) | found, exit_code=exit_code)

    def _about(self, outcome: str) -> dict[str, object]:
        return {
            "outcome": outcome,
            "promotion": self._row.id,
            "version": self._row.version,
            "previous_version": self._previous,
        }
