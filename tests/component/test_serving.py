"""Following a champion, on a real registry (SQLite and a folder), a real ledger in Postgres and real models."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest

from contracts.errors import Misconfigured, Transient
from contracts.settings import MlflowSettings, ServingSettings, Settings, StreamSettings
from inference.domain.batching import BatchPlan
from inference.persistence import connect
from inference.persistence.agreement import agreement_between
from inference.persistence.heartbeats import Heartbeat, replicas
from inference.persistence.lasting_connection import LastingConnection
from inference.serving.follow import Follower
from inference.serving.golden import read
from inference.serving.served_models import Role
from tests.support.model_store import DEMO_MODEL, WEAKER_MODEL, a_copy, point, register, surer_golden, write_done
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.rows import a_frame, a_prediction, upsert
from tests.support.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn

GIVEN = BatchPlan(size=2, age_seconds=0.01)  # measured sizes have a test of their own


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def settings(
    postgres: PostgresServer,
    store: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """Profile full: the ledger decides."""
    monkeypatch.chdir(store)  # where MLflow puts artefacts without a server
    return postgres.new_database(
        migrated=True,
        mlflow=MlflowSettings(tracking_uri=f"sqlite:///{store}/mlflow.db", model_name=request.node.name[:60]),
        stream=StreamSettings(cache_folder=tmp_path / "cache"),
        serving=ServingSettings(follows_ledger=True, poll_seconds=0.5, heartbeat_seconds=0.3),
    )


def in_profile_core(settings: Settings) -> Settings:
    return settings.model_copy(update={"serving": ServingSettings(poll_seconds=0.5, heartbeat_seconds=0.3)})


def without_mlflow(settings: Settings) -> Settings:
    away = settings.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    return settings.model_copy(update={"mlflow": away})


@contextmanager
def following(settings: Settings, *, lead: Role = "champion", plan: BatchPlan | None = GIVEN) -> Iterator[Follower]:
    kind = "api" if lead == "champion" else "shadow"
    follower = Follower(settings, kind=kind, engine_kind="onnxruntime", threads=1, lead=lead, plan=plan)
    follower.start()
    try:
        yield follower
    finally:
        follower.close()


def serves(follower: Follower, version: str) -> bool:
    current = follower.current
    return current is not None and current.version.version == version


def is_warm(follower: Follower, version: str) -> bool:
    return follower.warmed is not None and follower.warmed.version.version == version


def heartbeats(settings: Settings, *, seconds: float = 10) -> list[Heartbeat]:
    with connect(settings) as connection:
        return replicas(connection, seconds=seconds)


class Load:
    """Batch after batch in two threads, as long as the block; whatever fails is kept."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._images = [one.image for one in read(DEMO_MODEL).images[:2]]
        self._one_at_a_time = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(2)]
        self.answers: list[tuple[float, str, int]] = []  # when, by which version, how many detections
        self.failures: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._follower.lease() as model, self._one_at_a_time:
                    found = model.engine.infer(self._images)
                self.answers.append((time.monotonic(), model.version.version, sum(map(len, found))))
            except BaseException as error:  # noqa: BLE001 - kept for the assertion
                self.failures.append(error)


def test_a_promotion_is_followed_within_two_seconds_and_no_batch_fails(settings: Settings) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, old)
    point(settings, "challenger", new)
    with following(settings) as follower:
        eventually(lambda: is_warm(follower, new), seconds=60)
        assert serves(follower, old)
        with Load(follower) as load:
            eventually(lambda: len(load.answers) > 5, every=0.05)
            begin = time.monotonic()
            write_done(settings, new)
            eventually(lambda: serves(follower, new), seconds=10, every=0.01)
            took = time.monotonic() - begin
            eventually(lambda: load.answers[-1][1] == new, seconds=10, every=0.05)
            count = len(load.answers)
            eventually(lambda: len(load.answers) > count + 5, every=0.05)
        assert took < 2
        assert load.failures == []
        versions = [version for _, version, _ in sorted(load.answers)]
        assert set(versions) == {old, new}
        assert len({detections for _, version, detections in load.answers if version == old}) == 1
        assert versions[versions.index(new) :].count(old) <= 1  # the other thread's batch, begun before
        assert follower.state == "serving"
        assert follower.warmed is None


def test_a_rollback_to_a_version_that_is_not_warm_is_followed_too(settings: Settings) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, new)
    with following(settings) as follower:
        eventually(lambda: serves(follower, new))
        with Load(follower) as load:
            write_done(settings, old)
            eventually(lambda: serves(follower, old))
            eventually(lambda: load.answers and load.answers[-1][1] == old, every=0.05)
        assert load.failures == []


def test_an_alias_moved_by_hand_is_nobodys_word_where_the_ledger_decides(settings: Settings) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, old)
    point(settings, "champion", old)
    with following(settings) as follower:
        eventually(lambda: serves(follower, old))
        point(settings, "champion", new)
        with connect(settings) as connection:  # an intention is none either
            connection.execute(
                "INSERT INTO promotions (model, alias, version, state, approved_by, reason)"
                " VALUES (%s, 'champion', %s, 'intended', 'a test', '')",
                (settings.mlflow.model_name, new),
            )
        time.sleep(2.5)
        assert serves(follower, old)
        assert follower.warmed is None


def test_in_profile_core_the_alias_is_followed_while_it_runs(settings: Settings) -> None:
    core = in_profile_core(settings)
    old, new = register(core), register(core, WEAKER_MODEL)
    point(core, "champion", old)
    point(core, "challenger", new)
    with following(core) as follower:
        eventually(lambda: is_warm(follower, new))
        with Load(follower) as load:
            eventually(lambda: load.answers, every=0.05)
            point(core, "champion", new)
            eventually(lambda: serves(follower, new), seconds=5, every=0.02)
            eventually(lambda: load.answers[-1][1] == new, every=0.05)
        assert load.failures == []
        point(core, "challenger", None)
        time.sleep(1.5)
        assert serves(follower, new)


def test_the_last_champion_serves_on_without_any_store_also_across_a_restart(
    settings: Settings, postgres: PostgresServer
) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, old)
    with following(settings) as follower:
        eventually(lambda: serves(follower, old))
        postgres.stop()
        try:
            with Load(follower) as load:
                time.sleep(2)
            assert load.failures == []
            assert {version for _, version, _ in load.answers} == {old}
            assert follower.state == "serving"
            assert "away" in (follower.reason or "")
            with following(without_mlflow(settings)) as again:
                eventually(lambda: serves(again, old))
        finally:
            postgres.start()
        eventually(lambda: [one.version for one in heartbeats(settings, seconds=1)] == [old])
        write_done(settings, new)
        eventually(lambda: serves(follower, new))
        assert follower.reason is None


def test_a_version_once_known_here_is_rolled_back_to_without_mlflow(settings: Settings) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, old)
    with following(settings) as follower:
        eventually(lambda: serves(follower, old))
        write_done(settings, new)
        eventually(lambda: serves(follower, new))
    with following(without_mlflow(settings)) as follower:
        eventually(lambda: serves(follower, new))
        write_done(settings, old)
        eventually(lambda: serves(follower, old))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"no model"), "cannot run"),
        (surer_golden, "golden images"),
        (lambda folder: (folder / "golden/golden.json").unlink(), "lacks golden/golden.json"),
        (lambda folder: (folder / "model.json").write_text("{}"), "model.json"),
    ],
    ids=["broken-onnx", "golden-mismatch", "no-golden", "bad-spec"],
)
def test_what_does_not_work_never_serves_and_is_told(settings: Settings, tmp_path: Path, damage, reason) -> None:  # type: ignore[no-untyped-def]
    good, bad = register(settings), register(settings, a_copy(tmp_path / "bad", change=damage))
    better = register(settings, WEAKER_MODEL)
    write_done(settings, good)
    point(settings, "challenger", bad)
    with following(settings) as follower:
        eventually(lambda: "challenger: " in (follower.reason or ""))
        assert (follower.warmed, follower.state) == (None, "serving")
        write_done(settings, bad)
        (told,) = eventually(lambda: [one for one in heartbeats(settings) if one.state == "refused"])
        assert (told.version, told.warmed_version) == (good, None)
        assert reason in (told.reason or "")
        assert serves(follower, good)
        with following(settings) as again:  # a restart meanwhile
            eventually(lambda: serves(again, good))
            assert again.state == "refused"
        write_done(settings, better)
        eventually(lambda: serves(follower, better))
        eventually(
            lambda: [(one.version, one.state) for one in heartbeats(settings, seconds=1)] == [(better, "serving")]
        )


def test_a_first_champion_that_does_not_work_ends_the_wait(settings: Settings, tmp_path: Path) -> None:
    bad = register(settings, a_copy(tmp_path / "bad", change=lambda one: (one / "model.onnx").write_bytes(b"no model")))
    write_done(settings, bad)
    with following(settings) as follower, pytest.raises(Misconfigured, match="cannot run"):
        follower.wait(threading.Event())


def test_every_process_is_a_replica_while_it_lives_and_none_when_it_stopped(settings: Settings) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, old)
    point(settings, "challenger", new)
    with following(settings) as one, following(settings) as other, following(settings, lead="challenger") as shadow:
        for follower in (one, other):
            eventually(lambda follower=follower: is_warm(follower, new))
        eventually(lambda: serves(shadow, new))
        found = eventually(lambda: [beat for beat in heartbeats(settings, seconds=1) if beat.warmed_version == new] and heartbeats(settings, seconds=1))  # fmt: skip
        eventually(lambda: sorted((beat.kind, beat.version, beat.state) for beat in heartbeats(settings, seconds=1)) == [
            ("api", old, "serving"), ("api", old, "serving"), ("shadow", new, "serving")])  # fmt: skip
        assert len({beat.instance for beat in found}) == len(found)
        (first,) = [beat for beat in found if beat.instance == one.heartbeat().instance]
        assert (first.model, first.engine) == (settings.mlflow.model_name, "onnxruntime")
        assert first.updated_at is not None
        assert abs(datetime.now(UTC) - first.updated_at) < timedelta(seconds=30)
        eventually(lambda: (now := heartbeats(settings, seconds=1)) and all((beat.updated_at or first.updated_at) > first.updated_at for beat in now))  # fmt: skip
    assert heartbeats(settings) == []


def test_a_killed_process_stops_being_a_replica_and_its_row_goes_in_the_end(settings: Settings) -> None:
    write_done(settings, register(settings))
    with connect(settings) as connection:
        for instance, age in (("killed", "20 seconds"), ("long gone", "2 hours")):
            connection.execute(
                "INSERT INTO serving (instance, kind, model, version, state, engine, started_at, updated_at)"
                " VALUES (%s, 'api', 'pcb', '1', 'serving', 'fake', now(), (now() AT TIME ZONE 'UTC') - %s::interval)",
                (instance, age),
            )
    with following(settings) as follower:
        eventually(lambda: serves(follower, "1"))
        eventually(lambda: [one.version for one in heartbeats(settings)] == ["1"])
        assert [one.kind for one in heartbeats(settings)] == ["api"]
        with connect(settings) as connection:
            rows = connection.execute("SELECT instance FROM serving").fetchall()
        assert ("killed",) in rows
        assert ("long gone",) not in rows


def test_a_process_that_was_told_to_stop_says_that_it_drains(settings: Settings) -> None:
    write_done(settings, register(settings))
    stopping = threading.Event()
    follower = Follower(
        settings, kind="api", engine_kind="onnxruntime", threads=1, plan=GIVEN, stopping=stopping
    )  # fmt: skip
    follower.start()
    try:
        eventually(lambda: [one.state for one in heartbeats(settings)] == ["serving"])
        stopping.set()
        eventually(lambda: [one.state for one in heartbeats(settings)] == ["draining"])
    finally:
        follower.close()


def test_a_shadow_follows_the_challenger_and_rests_once_it_is_champion(settings: Settings) -> None:
    old, new = register(settings), register(settings, WEAKER_MODEL)
    write_done(settings, old)
    with following(settings, lead="challenger") as shadow:
        eventually(lambda: [one.state for one in heartbeats(settings)] == ["idle"])
        point(settings, "challenger", new)
        eventually(lambda: serves(shadow, new))
        with shadow.lease() as model:
            assert (model.role, model.version.version) == ("challenger", new)
        write_done(settings, new)  # the alias is still there
        eventually(lambda: shadow.current is None, seconds=5)
        eventually(lambda: [(one.version, one.state) for one in heartbeats(settings)] == [("", "idle")])


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_batch_size_is_measured_in_bounded_time(settings: Settings, engine: str) -> None:
    write_done(settings, register(settings))
    follower = Follower(settings, kind="api", engine_kind=engine, threads=0)
    follower.start()
    try:
        model = follower.wait(threading.Event())
        assert model is not None
        assert set(model.sweep) >= {1, 2}
        assert model.plan.size in model.sweep
        rates = {size: size / seconds for size, seconds in model.sweep.items()}
        assert rates[model.plan.size] >= 0.97 * max(rates.values())
    finally:
        follower.close()


def test_a_connection_that_broke_is_opened_again(settings: Settings) -> None:
    lasting = LastingConnection(settings.postgres)
    with lasting.use() as connection:
        (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    with lasting.use() as connection:
        assert connection.execute("SELECT pg_backend_pid()").fetchone() == (pid,)
    with connect(settings) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with pytest.raises(Transient), lasting.use() as connection:
        connection.execute("SELECT 1")
    with lasting.use() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    lasting.close()


def test_agreement_is_read_from_what_both_versions_saw_in_the_same_frames(settings: Settings) -> None:
    now = datetime.now(UTC)
    with connect(settings) as connection:
        for index, (labels, status) in enumerate(
            [
                (["open", "short"], "ok"),
                (["open", "spur"], "ok"),
                ([], "ok"),
                (["open", "short"], "undecodable"),
                (None, ""),
            ]
        ):
            frame = a_frame(captured_at=now - timedelta(minutes=index), sequence=index)
            upsert(connection, "frames", frame)
            seen = a_prediction(frame["frame_id"], model_version="1")
            boxes = seen["boxes"]
            upsert(connection, "predictions", seen)
            upsert(connection, "predictions", a_prediction(frame["frame_id"], model_version="3", model_name="another"))
            if labels is not None:
                changes = {"labels": labels, "confidences": [0.6] * len(labels), "boxes": boxes[: 4 * len(labels)]}
                upsert(
                    connection, "predictions",
                    a_prediction(frame["frame_id"], model_version="2", role="challenger", status=status, **changes),
                )  # fmt: skip
        ask = {"first": "1", "second": "2", "since": now - timedelta(hours=1), "until": now + timedelta(minutes=1)}
        found = agreement_between(connection, "pcb-defects", **ask)  # type: ignore[arg-type]
        assert (found.frames, found.agreeing_frames) == (3, 1)
        assert (found.agreed, found.label_flips, found.missing, found.extra) == (3, 1, 2, 0)
        assert found.share == pytest.approx(0.5)
        assert found.confidence_shift == pytest.approx((0.1 + 0.35 + 0.1) / 3, abs=1e-5)
        newest = agreement_between(connection, "pcb-defects", **ask, most=1)  # type: ignore[arg-type]
        assert (newest.frames, newest.share) == (1, 1.0)
        assert agreement_between(connection, "pcb-defects", **(ask | {"second": "3"})).share is None  # type: ignore[arg-type]
