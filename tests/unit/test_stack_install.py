"""Installing binaries: whole or not at all, once, and a failure says what to do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from contracts.errors import Misconfigured, Transient
from contracts.settings import Settings, StackSettings
from sightline.stack import install, prerequisites, setup


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(stack=StackSettings(cache=tmp_path / "cache"))


def only(settings: Settings, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Makes one small part all that there is."""
    part = {
        "name": "thing",
        "folder": install.cache_of(settings) / "thing-1",
        "queue": "go",
        "expects": "made",
        "build": lambda to, log: (to / "made").touch(),
    }
    part |= changes
    monkeypatch.setattr(install, "parts", lambda _: (install.Part(**part),))  # type: ignore[arg-type]
    monkeypatch.setattr(install, "binaries", lambda _: None)


def test_a_part_is_built_once_and_the_second_time_nothing_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    built: list[Path] = []

    def build(to: Path, log: Path) -> None:
        built.append(to)
        (to / "made").touch()

    only(settings, monkeypatch, build=build)
    said: list[str] = []
    install.ensure(settings, said.append)
    assert len(said) == 2
    install.ensure(settings, said.append)
    assert (len(built), len(said)) == (1, 2)
    assert [path.name for path in (install.cache_of(settings) / "thing-1").iterdir()] == ["made"]


def test_a_build_that_fails_leaves_nothing_and_shows_the_end_of_its_output(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def build(to: Path, log: Path) -> None:
        (to / "half").touch()
        install._run(["sh", "-c", "echo the registry is away; exit 3"], log)

    only(settings, monkeypatch, build=build)
    with pytest.raises(Transient, match=r"sh ended with code 3:\nthe registry is away\nThe whole log: .*thing-1.log"):
        install.ensure(settings, lambda _: None)
    assert not (install.cache_of(settings) / "thing-1").exists()
    only(settings, monkeypatch)
    install.ensure(settings, lambda _: None)
    assert (install.cache_of(settings) / "thing-1" / "made").exists()


def test_a_build_that_succeeds_with_nothing_is_a_failure(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    only(settings, monkeypatch, build=lambda to, log: None)
    with pytest.raises(Misconfigured, match="left no made"):
        install.ensure(settings, lambda _: None)


def test_two_installs_at_once_build_once(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    built: list[Path] = []
    inside = threading.Event()

    def build(to: Path, log: Path) -> None:
        built.append(to)
        inside.set()
        waited.wait(10)
        (to / "made").touch()

    waited = threading.Event()
    only(settings, monkeypatch, build=build)
    said: list[str] = []

    def hear(line: str) -> None:
        said.append(line)
        if "another install" in line:
            waited.set()

    threads = [threading.Thread(target=install.ensure, args=(settings, hear)) for _ in range(2)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert len(built) == 1
    assert sum("another install" in line for line in said) == 1


def test_an_edit_of_the_plugins_sources_makes_another_part(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    sources = tmp_path / "plugins-java"
    (sources / "src").mkdir(parents=True)
    (sources / "target").mkdir()
    monkeypatch.setattr(install, "PLUGIN_SOURCES", sources)

    def folder() -> Path:
        return next(part.folder for part in install.parts(settings) if part.name == "plugin")

    (sources / "src" / "A.java").write_text("class A {}")
    before = folder()
    (sources / "target" / "A.class").write_text("built")
    assert folder() == before
    (sources / "src" / "A.java").write_text("class A { }")
    assert folder() != before


def test_every_part_carries_its_version_and_lies_in_the_cache_that_was_set(settings: Settings):
    names = {part.name: part.folder for part in install.parts(settings)}
    assert set(names) == {"kafka", "registry", "jdbc-sink", "plugin", "s3", "java-archive"}
    assert all(folder.parent == install.cache_of(settings) for folder in names.values())
    assert "4.3.1" in names["kafka"].name


def test_a_missing_tool_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prerequisites.sys, "platform", "linux")
    assert prerequisites.missing_build_tools() == [
        "no JDK (javac) on PATH. Install one: apt-get install -y default-jdk-headless",
        "no Maven (mvn) on PATH. Install it: apt-get install -y maven",
    ]
    monkeypatch.setattr(prerequisites.sys, "platform", "darwin")
    assert "brew install maven" in prerequisites.missing_build_tools()[1]


def test_a_jdk_that_is_too_old_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name, said in (("javac", "javac 11.0.2"), ("mvn", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    [sentence] = prerequisites.missing_build_tools()
    assert sentence.startswith("javac is 11, 17 or newer is needed")


def test_missing_tools_are_told_before_anything_is_built(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    only(settings, monkeypatch, queue="maven")
    monkeypatch.setattr(prerequisites, "missing_build_tools", lambda: ["no Maven", "no JDK"])
    with pytest.raises(Misconfigured, match="no Maven; no JDK"):
        install.ensure(settings, lambda _: None)


@pytest.mark.parametrize(
    ("said", "expected"), [("uv 0.13.9 (abc)", (0, 13, 9)), ("Python 3.11.7", (3, 11, 7)), ("pyenv: not found", ())]
)
def test_versions_are_read_from_what_a_tool_says(said: str, expected: tuple[int, ...]):
    assert setup.numbers(said) == expected


def test_a_python_that_does_not_run_is_not_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    stand_in = tmp_path / "python3.14"
    stand_in.write_text("#!/bin/sh\nexit 127\n")
    stand_in.chmod(0o755)
    assert setup.version_of(str(stand_in)) is None
