from __future__ import annotations

from pathlib import Path

import psycopg
import psycopg.conninfo
import pytest

from contracts.errors import Misconfigured
from contracts.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SIGHTLINE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_a_value_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    assert Settings.load().kafka.bootstrap_servers == "127.0.0.1:1"


def test_a_value_is_read_from_the_stacks_file_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / ".sightline"
    home.mkdir()
    (home / "settings.env").write_text("SIGHTLINE_STREAM__GROUP=from-file\nSIGHTLINE_STREAM__BATCH_SIZE=3\n")
    monkeypatch.setenv("SIGHTLINE_STREAM__GROUP", "from-environment")
    settings = Settings.load()
    assert (settings.stream.group, settings.stream.batch_size) == ("from-environment", 3)
    assert settings.stack.home == home


def test_the_stacks_file_is_found_from_a_folder_below(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".sightline").mkdir()
    (tmp_path / ".sightline" / "settings.env").write_text("SIGHTLINE_STREAM__BATCH_SIZE=5\n")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Settings.load().stream.batch_size == 5


@pytest.mark.parametrize("name", ["SIGHTLINE_KAFAK__BOOTSTRAP_SERVERS", "SIGHTLINE_STREAM__GRUOP", "SIGHTLINE_GROUP"])
def test_an_unknown_name_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(Misconfigured, match=name):
        Settings.load()


def test_an_unknown_name_in_the_stacks_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".sightline").mkdir()
    (tmp_path / ".sightline" / "settings.env").write_text("SIGHTLINE_STREAM__GRUOP=x\n")
    with pytest.raises(Misconfigured, match="GRUOP"):
        Settings.load()


def test_a_value_that_does_not_fit_is_named_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_POSTGRES__PORT", "hunter2")
    with pytest.raises(Misconfigured) as caught:
        Settings.load()
    assert "SIGHTLINE_POSTGRES__PORT" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_shown_when_the_tree_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_POSTGRES__PASSWORD", "hunter2")
    monkeypatch.setenv("SIGHTLINE_S3__SECRET_KEY", "hunter3")
    settings = Settings.load()
    assert "hunter" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("password", ["pa ss'word", "x host=evil", "back\\slash", ""])
def test_a_password_reaches_postgres_as_it_is_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("SIGHTLINE_POSTGRES__PASSWORD", password)
    parsed = psycopg.conninfo.conninfo_to_dict(Settings.load().postgres.conninfo)
    assert (parsed.get("password", ""), parsed["host"], parsed["application_name"]) == (
        password,
        "127.0.0.1",
        "sightline",
    )


def test_a_home_that_is_given_is_the_one_that_is_read(tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "settings.env").write_text("SIGHTLINE_STREAM__BATCH_SIZE=7\n")
    settings = Settings.load(home=home)
    assert (settings.stream.batch_size, settings.stack.home) == (7, home)


@pytest.mark.parametrize(("name", "value"), [("SIGHTLINE_STACK__PORTS", "hunter2"), ("SIGHTLINE_POSTGRES", "hunter2")])
def test_a_table_that_is_no_json_is_one_line_without_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match="settings do not fit") as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "settings.env").write_bytes(b"SIGHTLINE_STREAM__GROUP=\xff\xfe\n")
    with pytest.raises(Misconfigured, match=r"settings\.env cannot be read: it is no UTF-8 text"):
        Settings.load(home=tmp_path)


def test_a_home_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)  # permissions do not keep root out
    with pytest.raises(Misconfigured, match="cannot be read: Permission denied"):
        Settings.load(home=tmp_path)


@pytest.mark.parametrize("days", ["0", "3651", "99999999999"])
def test_frames_are_kept_for_ten_years_at_most(monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setenv("SIGHTLINE_RETENTION__DAYS", days)
    with pytest.raises(Misconfigured, match="SIGHTLINE_RETENTION__DAYS"):
        Settings.load()
