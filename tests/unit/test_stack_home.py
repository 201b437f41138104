"""The home's folder: who may read it, what `up` writes there, and where its socket fits."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings, StackSettings
from sightline.stack import disk_room, up
from sightline.stack.disk_room import full_folders
from sightline.stack.home import Home, read_env, write_private, write_settings


def a_home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def settings_with(port_base: int) -> Settings:
    return Settings(stack=StackSettings(port_base=port_base))


def test_folders_and_settings_are_for_this_user_alone(tmp_path: Path):
    home = a_home(tmp_path)
    write_settings(home, settings_with(21000), {})
    for path in (home.folder, home.data, home.logs, home.run, home.settings_file):
        assert path.stat().st_mode & 0o077 == 0


def test_addresses_follow_the_ports_and_secrets_stay_what_they_were(tmp_path: Path):
    home = a_home(tmp_path)
    write_settings(home, settings_with(21000), {})
    first = read_env(home.settings_file)
    write_settings(home, settings_with(22000), {})
    second = read_env(home.settings_file)
    assert first["SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"] == "127.0.0.1:21092"
    assert second["SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS"] == "127.0.0.1:22092"
    secrets = ("SIGHTLINE_POSTGRES__PASSWORD", "SIGHTLINE_S3__SECRET_KEY")
    assert [first[name] for name in secrets] == [second[name] for name in secrets]
    assert all(len(first[name]) >= 24 for name in secrets)
    assert len({first[name] for name in secrets}) == 2


def test_two_homes_have_different_secrets(tmp_path: Path):
    homes = [a_home(tmp_path / name) for name in "ab"]
    for home in homes:
        write_settings(home, settings_with(21000), {})
    one, other = (read_env(home.settings_file)["SIGHTLINE_POSTGRES__PASSWORD"] for home in homes)
    assert one != other


@pytest.mark.parametrize("name", ["SIGHTLINE_KAFKA__BOOTSTRAP_SERVERS", "SIGHTLINE_POSTGRES__PASSWORD"])
def test_an_environment_that_names_other_neighbours_is_refused(tmp_path: Path, name: str):
    home = a_home(tmp_path)
    with pytest.raises(Misconfigured, match=f"{name} in the environment"):
        write_settings(home, settings_with(21000), {name: "x"})
    assert not home.settings_file.exists()


def test_settings_of_our_own_services_may_be_given(tmp_path: Path):
    home = a_home(tmp_path)
    write_settings(
        home, settings_with(21000), {"SIGHTLINE_STREAM__ENGINE": "fake", "SIGHTLINE_MLFLOW__MODEL_NAME": "x"}
    )
    assert home.settings_file.is_file()


def test_a_socket_that_fits_lies_in_the_home(tmp_path: Path):
    home = Home(Path("/h"))
    assert home.socket == Path("/h/run/supervisor.sock")


def test_a_long_home_has_its_socket_in_a_short_folder_and_finds_it_again(tmp_path: Path):
    home = Home(tmp_path / ("long-" * 20))
    home.make()
    socket = home.socket
    try:
        assert len(str(socket)) < 80
        assert Home(home.folder).socket == socket
        assert socket.parent.stat().st_mode & 0o077 == 0
    finally:
        home.forget_socket()
    assert not socket.parent.exists()


def test_a_private_file_is_replaced_whole(tmp_path: Path):
    file = tmp_path / "file"
    write_private(file, "one")
    write_private(file, "two")
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_named_where_a_start_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = a_home(tmp_path)
    home.make()
    assert full_folders(home) == []
    monkeypatch.setattr(disk_room, "_is_full", lambda folder: folder != home.folder)
    assert full_folders(home) == [home.run]  # one for each disk
    with pytest.raises(Transient) as caught, up._explained(home):
        raise Transient("postgres is not ready")
    assert f"postgres is not ready\nno space left on the disk of {home.run}: make room" in str(caught.value)


def test_a_file_that_a_full_disk_cuts_short_is_named_and_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a write's error names no file

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/settings\.env'"):
        write_private(tmp_path / "settings.env", "one")
    assert list(tmp_path.iterdir()) == []
