"""A model stays open for who uses it, and no longer, whatever is swapped meanwhile."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from inference.serving.served_models import NotLoaded, ServedModel, ServedModels
from tests.support.served import Closable, a_model

IMAGE = np.zeros((1, 1, 3), np.uint8)


def closed(model: ServedModel) -> int:
    assert isinstance(model.engine, Closable)
    return model.engine.closed


def test_a_swapped_model_is_closed_when_its_last_lease_ends() -> None:
    old, new = a_model("1"), a_model("2")
    models = ServedModels(old)
    with models.lease() as first:
        with models.lease() as second:
            models.put(new)
            models.put(a_model("3"))
            assert first is second is old
        assert closed(old) == 0
        with models.lease() as third:
            assert third.version.version == "3"
    assert (closed(old), closed(new)) == (1, 0)


def test_the_champion_before_this_one_stays_warm_for_a_rollback_and_the_one_before_it_is_closed() -> None:
    first, second = a_model("1"), a_model("2")
    models = ServedModels(first)
    models.put(second)
    assert closed(first) == 0
    back = models.crown("1")
    assert back is not None
    assert (back.engine, closed(first), closed(second)) == (first.engine, 0, 0)
    forth = models.crown("2")
    assert forth is not None
    assert (forth.engine, closed(first), closed(second)) == (second.engine, 0, 0)
    models.put(a_model("3"))
    assert (closed(first), closed(second)) == (1, 0)
    assert models.crown("1") is None
    models.close()
    assert (closed(first), closed(second)) == (1, 1)


def test_a_replaced_challenger_that_nobody_uses_is_closed_at_once() -> None:
    old = a_model("1", role="challenger")
    models = ServedModels(old)
    models.put(a_model("2", role="challenger"))
    assert closed(old) == 1


def test_a_lease_that_ends_in_an_error_ends_all_the_same() -> None:
    old = a_model("1")
    models = ServedModels(old)

    def batch() -> None:
        with models.lease():
            models.put(a_model("2"))
            models.put(a_model("3"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        batch()
    assert closed(old) == 1


def test_a_model_is_leased_by_its_role_or_its_number() -> None:
    models = ServedModels(a_model("7"))
    models.put(a_model("8", role="challenger"))
    for which, version in (("champion", "7"), ("challenger", "8"), ("7", "7"), ("8", "8")):
        with models.lease(which) as model:
            assert model.version.version == version
    with pytest.raises(NotLoaded, match="6 is not loaded here; loaded: champion 7, challenger 8"), models.lease("6"):
        pass
    with pytest.raises(NotLoaded, match="nothing yet"), ServedModels().lease():
        pass


def test_a_crowned_challenger_keeps_its_engine_and_its_leases() -> None:
    old, challenger = a_model("1"), a_model("2", role="challenger")
    models = ServedModels(old)
    models.put(challenger)
    assert models.crown("3") is None
    with models.lease("challenger") as leased:
        crowned = models.crown("2")
        assert crowned is not None
        assert (crowned.role, crowned.engine) == ("champion", challenger.engine)
        assert (leased.role, models.get("challenger")) == ("challenger", None)
        assert closed(old) == 0
        models.put(a_model("3"))
        assert (closed(old), closed(challenger)) == (1, 0)
        models.put(a_model("4"))
        assert closed(challenger) == 0
    assert closed(challenger) == 1


def test_whoever_asks_is_told_of_every_change_of_a_role() -> None:
    told: list[str | None] = []
    models = ServedModels(a_model("1"))
    models.on_change("champion", lambda model: told.append(model.version.version if model else None))
    models.put(a_model("2"))
    models.put(a_model("3", role="challenger"))
    models.crown("3")
    models.close()
    assert told == ["1", "2", "3", None]


def test_close_releases_every_engine_once() -> None:
    champion, challenger = a_model("1"), a_model("2", role="challenger")
    models = ServedModels(champion)
    models.put(challenger)
    models.close()
    models.close()
    assert (closed(champion), closed(challenger)) == (1, 1)


def test_batches_under_swaps_never_meet_a_closed_engine_and_every_engine_is_closed_once() -> None:
    made = [a_model(str(number), engine=Closable(seconds_per_image=0.0005)) for number in range(1, 60)]
    models = ServedModels(made[0])
    failures: list[BaseException] = []
    batches = [0] * 4
    stopping = threading.Event()

    def run(thread: int) -> None:
        try:
            while not stopping.is_set():
                with models.lease() as model:
                    model.engine.infer([IMAGE] * 2)
                batches[thread] += 1
        except BaseException as error:  # noqa: BLE001 - kept for the assertion
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for model in made[1:]:
        models.put(model)
        time.sleep(0.003)
    stopping.set()
    for thread in threads:
        thread.join(10)
    assert failures == []
    assert min(batches) > 10
    assert [closed(model) for model in made] == [1] * 57 + [0, 0]
