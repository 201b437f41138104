"""The objects of days that the retention takes.

    a day's keys ──► those whose frame is written down in expirations, and from everybody's days those that no row knows
                     ──► deleted, or only counted

What no row knows goes with the retention of all cameras only: until then its row may be on its way. What is no frame's
name is left where it is.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from contracts.identifiers import UUID7
from inference.persistence.database import Connection
from inference.persistence.expirations import standing
from inference.persistence.objects import FrameStore
from inference.persistence.old_frames import Reach

_DATE: Final = "date="


def days(store: FrameStore) -> list[date]:
    """Those that have objects, oldest first."""
    found = []
    for folder in store.folders(""):
        try:
            found.append(date.fromisoformat(folder.strip("/").removeprefix(_DATE)))
        except ValueError:
            continue  # no folder of ours
    return found


def sweep(connection: Connection, store: FrameStore, reach: Reach, *, is_deleting: bool) -> int:
    """Deletes, or only counts, the objects of a day that may go.

    Returns:
        How many.
    """
    day = f"{_DATE}{reach.first.isoformat()}/"
    folders = store.folders(day) if reach.cameras is None else [f"{day}camera={name}/" for name in reach.cameras]
    count = 0
    for folder in folders:
        for keys in store.pages(folder):
            ids = {stem: key for key in keys if UUID7.fullmatch(stem := key.rpartition("/")[2].partition(".")[0])}
            may_go = standing(connection, list(ids), reach)
            going = [key for frame_id, key in ids.items() if may_go.get(frame_id, reach.cameras is None)]
            if is_deleting:
                store.delete_many(going)
            count += len(going)
    return count
