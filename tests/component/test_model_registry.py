"""The registry's rules on a real MLflow store (SQLite and a folder, through MLflow's own client) and a real ledger."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from structlog.testing import capture_logs

from contracts.errors import Misconfigured, Rejected, Transient
from contracts.settings import MlflowSettings, ServingSettings, Settings, StreamSettings
from inference.persistence import connect as connect_database
from inference.persistence import ledger
from inference.persistence.ledger import Approval, Promotion
from inference.registry import tags
from inference.registry.bootstrap import ensure_champion
from inference.registry.mlflow_client import connect, translated
from inference.registry.model_version import of_folder
from inference.registry.resolve import resolve
from tests.support import small_disk
from tests.support.models import aliases, champion
from tests.support.postgres import PostgresServer, postgres_server
from tests.unit.test_model_spec import a_document

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own imports warn


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def settings(
    store: Path,
    postgres: PostgresServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    monkeypatch.chdir(store)  # where MLflow puts artefacts without a server
    return postgres.new_database(
        migrated=True,
        mlflow=MlflowSettings(tracking_uri=f"sqlite:///{store}/mlflow.db", model_name=request.node.name[:60]),
        stream=StreamSettings(cache_folder=tmp_path / "cache"),
    )


def without_mlflow(settings: Settings) -> Settings:
    away = settings.mlflow.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    return settings.model_copy(update={"mlflow": away})


def a_model_folder(folder: Path, content: bytes = b"a model") -> Path:
    (folder / "golden").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "model.json").write_text(json.dumps(a_document()))
    (folder / "golden/golden.json").write_text("{}")
    return folder


def test_demo_model_becomes_champion_once(settings: Settings, tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path / "model")
    name = settings.mlflow.model_name
    assert ensure_champion(settings, folder) == [
        f"registered version 1 of {name}",
        "gave champion to version 1 (there was no champion)",
    ]
    assert ensure_champion(settings, folder) == []
    version = resolve(settings, "champion")
    assert (version.version, version.licence) == ("1", "AGPL-3.0")
    assert version.folder is not None
    assert (version.folder / "model.onnx").read_bytes() == b"a model"
    assert (version.folder / "golden/golden.json").is_file()


def test_new_demo_model_replaces_an_older_one(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "old"))
    ensure_champion(settings, a_model_folder(tmp_path / "new", b"better"))
    version = resolve(settings, "champion")
    assert version.version == "2"
    assert version.folder is not None
    assert (version.folder / "model.onnx").read_bytes() == b"better"


def test_new_demo_model_leaves_a_promoted_version_alone(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "old"))
    client = connect(settings)
    source = client.get_model_version(settings.mlflow.model_name, "1").source
    client.create_model_version(settings.mlflow.model_name, source=source)
    changes = ensure_champion(settings, a_model_folder(tmp_path / "new", b"better"))
    assert changes[-1].startswith("left champion alone")
    assert resolve(settings, "champion").version == "1"


def rows(settings: Settings) -> list[Promotion]:
    with connect_database(settings) as connection:
        return list(reversed(ledger.history(connection, settings.mlflow.model_name, limit=50)))


def following_the_ledger(settings: Settings) -> Settings:
    return settings.model_copy(update={"serving": ServingSettings(follows_ledger=True)})


def move_by_hand(settings: Settings, version: str) -> None:
    connect(settings).set_registered_model_alias(settings.mlflow.model_name, "champion", version)


def promoted_by_a_person(settings: Settings, version: str, previous: str | None) -> None:
    with connect_database(settings) as connection:
        ledger.write_done(
            connection,
            settings.mlflow.model_name,
            version,
            previous_version=previous,
            approval=Approval(by="ada", reason="it is better"),
        )


def test_the_first_champion_has_a_row_of_the_ledger(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    [row] = rows(settings)
    assert (row.version, row.previous_version, row.state, row.approved_by) == ("1", None, "done", "bootstrap")
    assert row.reason == "there was no champion"
    ensure_champion(settings, a_model_folder(tmp_path / "new", b"better"))
    row = rows(settings)[-1]
    assert (row.version, row.previous_version, row.approved_by) == ("2", "1", "bootstrap")
    assert aliases(settings) == {"champion": "2", "previous_champion": "1"}


@pytest.mark.parametrize("in_full", [False, True])
def test_a_champion_from_before_the_ledger_gets_its_row_from_its_alias(
    settings: Settings, tmp_path: Path, in_full: bool
) -> None:
    folder = a_model_folder(tmp_path / "model")
    ensure_champion(settings, folder)
    with connect_database(settings) as connection:
        connection.execute("TRUNCATE promotions")  # as the landed state leaves it
    settings = following_the_ledger(settings) if in_full else settings
    assert ensure_champion(settings, folder) == [
        "wrote version 1 into the ledger (it had the alias before there was a ledger)"
    ]
    assert [(row.version, row.approved_by) for row in rows(settings)] == [("1", "bootstrap")]
    assert ensure_champion(settings, folder) == []


def test_a_start_that_died_between_row_and_alias_is_mended_by_the_next(settings: Settings, tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path / "model")
    ensure_champion(settings, folder)
    connect(settings).delete_registered_model_alias(settings.mlflow.model_name, "champion")
    assert ensure_champion(settings, folder) == [
        "alias champion put back to version 1, where the ledger has it; it was at nobody"
    ]
    assert aliases(settings) == {"champion": "1"}
    assert len(rows(settings)) == 1


def test_an_alias_moved_by_hand_counts_where_the_alias_alone_decides(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "old"))
    ensure_champion(settings, folder := a_model_folder(tmp_path / "new", b"better"))
    connect(settings).set_model_version_tag(settings.mlflow.model_name, "1", "source", "a person")
    move_by_hand(settings, "1")
    ensure_champion(settings, folder)
    assert (champion(settings), aliases(settings)["champion"]) == ("1", "1")


def test_an_alias_moved_by_hand_is_put_back_where_the_ledger_decides(settings: Settings, tmp_path: Path) -> None:
    settings = following_the_ledger(settings)
    ensure_champion(settings, a_model_folder(tmp_path / "old"))
    ensure_champion(settings, folder := a_model_folder(tmp_path / "new", b"better"))
    move_by_hand(settings, "1")
    assert ensure_champion(settings, folder) == [
        "alias champion put back to version 2, where the ledger has it; it was at version 1"
    ]
    assert (champion(settings), aliases(settings)["champion"]) == ("2", "2")


def test_a_demo_model_that_a_person_chose_is_not_replaced_by_a_newer_one(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "old"))
    ensure_champion(settings, folder := a_model_folder(tmp_path / "new", b"better"))
    promoted_by_a_person(settings, "1", "2")
    move_by_hand(settings, "1")
    ensure_champion(settings, folder)
    assert (champion(settings), aliases(settings)["champion"]) == ("1", "1")


def test_an_mlflow_that_lost_everything_gets_its_champion_again(settings: Settings, tmp_path: Path) -> None:
    promoted_by_a_person(settings, "7", "6")
    promoted_by_a_person(settings, "8", "7")
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    assert resolve(settings, "champion").version == "1"


def test_last_champion_serves_on_without_mlflow(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    known = resolve(settings, "champion")
    assert resolve(without_mlflow(settings), "champion") == known


def test_without_mlflow_and_without_a_cached_champion_it_is_worth_waiting(settings: Settings) -> None:
    with pytest.raises(Transient, match="MLflow is away"):
        resolve(without_mlflow(settings), "champion")


def test_a_damaged_cache_is_not_served(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    folder = resolve(settings, "champion").folder
    assert folder is not None
    (folder / "model.onnx").write_bytes(b"bitrot!")
    with pytest.raises(Transient):
        resolve(without_mlflow(settings), "champion")
    mended = resolve(settings, "champion").folder
    assert mended is not None
    assert (mended / "model.onnx").read_bytes() == b"a model"


def test_a_damaged_specification_is_not_served(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    folder = resolve(settings, "champion").folder
    assert folder is not None
    whole = (folder / "model.json").read_bytes()
    for damaged in (whole.replace(b"0.25", b"0.01"), whole[:40]):
        (folder / "model.json").write_bytes(damaged)
        with pytest.raises(Transient):
            resolve(without_mlflow(settings), "champion")
        assert resolve(settings, "champion").folder == folder
        assert (folder / "model.json").read_bytes() == whole


def test_a_damaged_golden_image_is_not_served_and_is_fetched_again(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    folder = resolve(settings, "champion").folder
    assert folder is not None
    for damage in (lambda file: file.write_text("[]"), lambda file: file.unlink()):
        damage(folder / "golden/golden.json")
        with pytest.raises(Transient):
            resolve(without_mlflow(settings), "champion")
        assert resolve(settings, "champion").folder == folder
        assert (folder / "golden/golden.json").read_text() == "{}"


def test_golden_images_that_were_changed_in_the_store_are_refused(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    client = connect(settings)
    version = client.get_model_version(settings.mlflow.model_name, "1")
    client.log_text(version.run_id, "[]", "model/golden/golden.json")
    with pytest.raises(Misconfigured, match=r"golden image .*deliver the model again"):
        resolve(settings, "champion")
    assert not list(settings.stream.cache_folder.rglob("model.onnx"))


def test_a_version_whose_specification_was_never_written_down_is_served(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    connect(settings).delete_model_version_tag(settings.mlflow.model_name, "1", tags.SPEC_DIGEST)
    known = resolve(settings, "champion")
    assert known.spec_digest == ""
    assert resolve(without_mlflow(settings), "champion") == known


def test_a_champion_that_cannot_be_remembered_serves_all_the_same(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    cache = settings.stream.cache_folder / settings.mlflow.model_name
    (cache / "champion.json" / "in the way").mkdir(parents=True)
    assert resolve(settings, "champion").version == "1"
    assert sorted(path.name for path in cache.glob(".*")) == []


def test_a_cache_that_cannot_be_written_is_worth_waiting_for_and_says_what_to_do(
    settings: Settings, tmp_path: Path
) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    settings.stream.cache_folder.write_text("a file in the way")
    with pytest.raises(Transient, match=r"make room.*SIGHTLINE_STREAM__CACHE_FOLDER"):
        resolve(settings, "champion")


def test_the_last_champion_serves_while_the_disk_has_no_room_for_the_next(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    ensure_champion(settings, a_model_folder(tmp_path / "old"))
    last = resolve(settings, "champion")
    ensure_champion(settings, a_model_folder(tmp_path / "new", b"better"))
    with monkeypatch.context() as disk:
        disk.setattr(Path, "rename", full)
        assert resolve(settings, "champion") == last
    assert resolve(settings, "champion").version == "2"


def test_a_disk_too_small_is_named_and_not_taken_for_an_outage(settings: Settings, tmp_path: Path) -> None:
    small_disk.need_one()
    cache = settings.stream.cache_folder
    disk = small_disk.mount(cache, megabytes=8)
    try:
        ensure_champion(settings, a_model_folder(tmp_path / "large", os.urandom(12 << 20)))
        with pytest.raises(Transient) as caught:
            resolve(settings, "champion")
        expected = f"into {cache / settings.mlflow.model_name}: No space left on device, on this machine: make room"
        assert expected in str(caught.value)
        assert "away" not in str(caught.value)
        ensure_champion(settings, a_model_folder(tmp_path / "small", b"small"))
        last = resolve(settings, "champion")
        ensure_champion(settings, a_model_folder(tmp_path / "larger", os.urandom(12 << 20)))
        with capture_logs() as events:
            assert resolve(settings, "champion") == last
        assert [expected in event["reason"] for event in events if event["event"] == "version_from_cache"] == [True]
    finally:
        disk.unmount()
    assert resolve(settings, "champion").version == "3"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_disk_that_fails_is_never_an_outage_of_mlflow(number: int) -> None:
    failed = OSError(number, os.strerror(number))
    for error in (
        failed,
        MlflowException(f"The following failures occurred while downloading x:\n##### File y\n{failed}"),
    ):
        with pytest.raises(Transient) as caught, translated("downloading y into /cache"):
            raise error
        assert str(caught.value).startswith(f"downloading y into /cache: {os.strerror(number)}, on this machine")
    for error in (OSError(errno.ECONNREFUSED, "refused"), MlflowException(f"the server's own disk: {failed}")):
        with (
            pytest.raises(Transient, match=r"MLflow (or its store )?is away"),
            translated("asking"),
        ):
            raise error


def test_an_alias_that_nobody_gave_is_worth_waiting_for(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(Transient, match="has the alias champion yet"):
        resolve(settings, "champion")
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    with pytest.raises(Transient, match="has the alias challenger yet"):
        resolve(settings, "challenger")


def test_files_that_are_not_what_the_digest_says_are_refused(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    connect(settings).set_model_version_tag(settings.mlflow.model_name, "1", "digest", "f" * 64)
    with pytest.raises(Misconfigured, match="deliver the model again"):
        resolve(settings, "champion")
    assert not list(settings.stream.cache_folder.rglob("model.onnx"))


def test_a_specification_that_is_not_what_its_digest_says_is_refused(settings: Settings, tmp_path: Path) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model"))
    connect(settings).set_model_version_tag(settings.mlflow.model_name, "1", tags.SPEC_DIGEST, "f" * 64)
    with pytest.raises(Misconfigured, match=r"model\.json.*deliver the model again"):
        resolve(settings, "champion")


def version_at(settings: Settings, source: str, folder: Path, **made: str) -> None:
    """The champion, its digests right, its files wherever it says."""
    client, name = connect(settings), settings.mlflow.model_name
    client.create_registered_model(name)
    model = of_folder(folder, name=name)
    digests = {tags.DIGEST: model.digest, tags.SPEC_DIGEST: model.spec_digest}
    client.create_model_version(name, source=source, tags=digests, **made)
    client.set_registered_model_alias(name, "champion", "1")


def test_files_that_lie_elsewhere_than_the_runs_are_not_fetched(settings: Settings, tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path / "model")
    run = connect(settings).create_run("0").info
    version_at(settings, str(folder), folder, run_id=run.run_id)
    with pytest.raises(Rejected, match=r"outside the artifacts of its run.*deliver the model again") as refusal:
        resolve(settings, "champion")
    assert refusal.value.code == "source_elsewhere"
    assert not list(settings.stream.cache_folder.rglob("model.onnx"))


def test_files_of_no_run_are_not_fetched(settings: Settings, tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path / "model")
    version_at(settings, str(folder), folder)
    with pytest.raises(Rejected, match="outside the artifacts of its run"):
        resolve(settings, "champion")


def test_a_logged_model_of_mlflow_3_is_fetched(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, client = a_model_folder(tmp_path / "model"), connect(settings)
    logged = client.create_logged_model("0", name="boards")
    client.log_model_artifacts(logged.model_id, str(folder))
    # A store in this process asks the process's own tracking URI for the logged model. set_tracking_uri would leave it set.
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", settings.mlflow.tracking_uri)
    version_at(settings, f"models:/{logged.model_id}", folder, model_id=logged.model_id)
    assert resolve(settings, "champion").is_whole()


@pytest.mark.parametrize("limit", ["bytes", "files"])
def test_a_version_that_is_no_model_by_its_size_is_not_fetched(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    ensure_champion(settings, a_model_folder(tmp_path / "model", b"x" * 1_500_000))
    small = settings.mlflow.model_copy(update={"largest_version_mib": 1 if limit == "bytes" else 2})
    with monkeypatch.context() as few:
        # There are model.onnx, model.json, MLmodel, golden/ and golden.json.
        few.setattr("inference.registry.source.MOST_FILES", 4 if limit == "files" else 5)
        with pytest.raises(Rejected, match="SIGHTLINE_MLFLOW__LARGEST_VERSION_MIB") as refusal:
            resolve(settings.model_copy(update={"mlflow": small}), "champion")
    assert refusal.value.code == "version_too_large"
    assert not list(settings.stream.cache_folder.rglob("model.onnx"))
    assert resolve(settings, "champion").is_whole()


def test_a_folder_without_a_model_is_misconfigured(settings: Settings, tmp_path: Path) -> None:
    folder = a_model_folder(tmp_path / "model")
    shutil.rmtree(folder)
    with pytest.raises(Misconfigured, match="cannot read the model"):
        ensure_champion(settings, folder)
