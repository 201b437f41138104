"""What an approver reads before a promotion. Pure.

verdict of the gate ─► Markdown: challenger beside champion, class by class; reasons; the link
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.settings import Settings
from sightline_airflow.pages import model_version_url, review_url

_MARKS: Final = frozenset("\\`*_{}[]()<>#+-.!|~")
_COLUMNS: Final = (
    ("ap50_95", "mAP50-95"),
    ("recall", "recall"),
    ("precision", "precision"),
    ("ece", "calibration error"),
)


def approvers(settings: Settings) -> list[dict[str, str]]:
    """Who may answer. Named nobody, nobody may: the request then ends in a rejection."""
    named = [{"id": who, "name": name} for who, name in settings.jobs.approvers]
    return named or [{"id": "nobody", "name": "nobody: SIGHTLINE_JOBS__APPROVERS names no one"}]


def request(settings: Settings, verdict: Mapping[str, Any], *, reason: str) -> str:
    """The body of the request. `reason` is what whoever started the run wrote: it goes to the ledger in the approver's name."""
    version, champion = str(verdict["version"]), verdict.get("champion_version")
    figures = verdict.get("figures", {})
    pages = [f"[Version {version} in MLflow]({model_version_url(settings, version)})"]
    if reviewed := review_url(settings, []):
        pages.append(f"[reviewed frames]({reviewed})")
    against = f"champion version {champion}" if champion else "no champion"
    latency = figures.get("latency") or {}
    took = f"\n\nOne image takes {latency['median_ms']:.1f} ms ({latency['engine']})." if latency else ""
    reasons = "\n".join(f"- {one}" for one in verdict.get("reasons", ()))
    return (
        f"Version **{version}** of {verdict['model']} against {against}, on {figures.get('dataset', 'the gate set')}. "
        "Approve makes it champion for every process, in your name; the watch window follows. Reject, or no answer, "
        f"changes nothing.\n\nThe ledger keeps as the reason: {_plain(reason)}\n\n{' · '.join(pages)}\n\n{comparison(figures)}{took}\n\n"
        f"The gate says **{verdict['verdict']}**:\n\n{reasons}\n"
    )


def _plain(text: str) -> str:
    """As it is, whatever Markdown would make of it."""
    return "".join(f"\\{sign}" if sign in _MARKS else sign for sign in " ".join(text.split()))


def comparison(figures: Mapping[str, Any]) -> str:
    """A Markdown table: each class, the challenger's figure and how it differs from the champion's."""
    mine, theirs = _by_label(figures.get("candidate")), _by_label(figures.get("champion"))
    head = ["class", "labels", *(title for _, title in _COLUMNS)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for label, row in mine.items():
        cells = [
            label,
            str(row.get("labels", "")),
            *(_cell(row.get(key), theirs.get(label, {}).get(key)) for key, _ in _COLUMNS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_label(rows: Sequence[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    return {str(row["label"]): row for row in rows or ()}


def _cell(mine: Any, theirs: Any) -> str:
    if not _is_number(mine):
        return "-"
    return f"{mine:.3f}" + (f" ({mine - theirs:+.3f})" if _is_number(theirs) else "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
