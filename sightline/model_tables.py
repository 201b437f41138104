"""Versions and promotions, as the API answers them, for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def versions(answer: dict[str, Any]) -> str:
    """GET /v1/models as a table."""
    page = _page("version", "role", "gate", "AP50", "AP50-95", "licence", "served by", "digest")
    for one in answer["items"]:
        metrics = one["metrics"]
        page.add_row(
            one["version"],
            "champion" if one["is_champion"] else ", ".join(one["aliases"]),
            one["verdict"]["verdict"] if one["verdict"] else "-",
            _figure(metrics.get("ap50")),
            _figure(metrics.get("ap50_95")),
            one["licence"],
            str(len(one["replicas"])),
            one["digest"][:12],
        )
    reasons = [
        f"{one['version']}: {reason}"
        for one in answer["items"]
        if one["verdict"] and one["verdict"]["verdict"] != "pass"
        for reason in one["verdict"]["reasons"]
    ]
    return "\n".join([_text(page), *reasons])


def promotions(answer: dict[str, Any]) -> str:
    """GET /v1/promotions as a table."""
    page = _page("row", "version", "instead of", "state", "at", "approved by", "reason")
    for one in answer["items"]:
        page.add_row(
            str(one["id"]),
            one["version"],
            one["previous_version"] or "-",
            one["state"],
            (one["done_at"] or one["requested_at"])[:19],
            one["approved_by_name"] or one["approved_by"],
            one["reason"],
        )
    return _text(page)


def _page(*headings: str) -> Table:
    page = Table(box=None, pad_edge=False)
    for heading in headings:
        page.add_column(heading)
    return page


def _text(page: Table) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(page)
    return captured.get().rstrip()


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
