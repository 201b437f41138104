"""What a person gets wrong ends in one line and an exit code, never in a traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sightline import cli
from sightline.stack.home import Home


def a_home_that_is_a_file(folder: Path) -> None:
    (folder / "home").write_text("")
    Home(folder / "home").make()


def a_home_in_a_file(folder: Path) -> None:
    (folder / "home").write_text("")
    Home(folder / "home" / "deeper").make()


def a_home_that_may_not_be_written(_folder: Path) -> None:
    raise OSError(errno.EROFS, "Read-only file system", "home/settings.env")


def a_full_disk(_folder: Path) -> None:
    with Path("/dev/full").open("w") as file:
        file.write("x")


@pytest.mark.parametrize("what", [a_home_that_is_a_file, a_home_in_a_file, a_home_that_may_not_be_written, a_full_disk])
def test_a_home_that_cannot_be_written_is_one_line(
    what: Callable[[Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "app", lambda: what(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    [line] = capsys.readouterr().err.splitlines()
    assert (ended.value.code, line.startswith("sightline: ")) == (78, True)


def test_an_error_of_another_kind_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_off() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(cli, "app", break_off)
    with pytest.raises(ConnectionRefusedError):
        cli.main()


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e300", "-1", "86401"])
def test_an_audit_waits_for_a_number_of_seconds_that_there_is(seconds: str) -> None:
    result = CliRunner().invoke(cli.app, ["audit", "--wait", seconds])
    assert result.exit_code == 2
    assert "--wait" in result.output
