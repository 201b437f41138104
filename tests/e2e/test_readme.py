"""The README's commands run as they stand there.

code blocks ──► commands, alternatives taken apart ──► WAYS: what stands in for a placeholder, what is added

A command that WAYS does not know fails the test: say there how it is run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import psycopg
import pytest

from contracts.settings import Settings
from tests.support.command_line import run, succeed
from tests.support.images import jpeg, png
from tests.support.rtsp_server import RtspCamera

README: Final = Path(__file__).resolve().parents[2] / "README.md"


def commands_of(page: str) -> list[str]:
    """Every `sightline` command of the code blocks, once: `a b | c` is `a b` and `a c`, an argument in brackets is optional."""
    found = [
        command
        for block in re.findall(r"^```.*?\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        for step in re.split(r"&&|;", line)
        for command in _alternatives(shlex.split(step, comments=True))
    ]
    return list(dict.fromkeys(found))


def _alternatives(words: list[str]) -> Iterator[str]:
    words = words[2:] if words[:2] == ["uv", "run"] else words
    if words[:1] != ["sightline"]:
        return
    first, *others = (part.split(" ") for part in " ".join(map(shlex.quote, words[1:])).split(" '|' "))
    for command in (first, *(first[:-1] + other for other in others)):
        plain = [word for word in command if not word.startswith("'[")]
        yield " ".join(plain)
        if plain != command:
            yield " ".join(word.strip("'[]") for word in command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one command is run: with what in the place of which word, and what besides."""

    instead: dict[str, Callable[[Settings, Path, ExitStack], str]] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    before: tuple[str, ...] = ()  # a command that has to be run first
    is_run: bool = True  # else it is only asked for its help: it would end the stack, or needs what is not there
    says: str = ""


def a_folder(_stack: Settings, where: Path, _closing: ExitStack) -> str:
    (where / "inner").mkdir()
    (where / "a.jpg").write_bytes(jpeg())
    (where / "inner" / "b.png").write_bytes(png())
    return str(where)


def a_video(_stack: Settings, where: Path, _closing: ExitStack) -> str:
    file = where / "clip.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), 10, (160, 120))
    for shade in range(0, 250, 50):
        writer.write(np.full((120, 160, 3), shade, np.uint8))
    writer.release()
    return str(file)


def a_stream(_stack: Settings, _where: Path, closing: ExitStack) -> str:
    return closing.enter_context(RtspCamera(fps=25)).url


def a_frame_id(stack: Settings, _where: Path, _closing: ExitStack) -> str:
    succeed(stack, "send", "simulator:?size=64", "--camera", "readme", "--count", "1")
    succeed(stack, "audit", "--camera", "readme", "--wait", "60")
    with psycopg.connect(stack.postgres.conninfo) as connection:
        [frame_id] = connection.execute("SELECT frame_id::text FROM frames WHERE camera_id = 'readme'").fetchone() or [
            ""
        ]
    return frame_id


WAYS: Final = {
    "send ./images --camera line-1": Way(instead={"./images": a_folder}, says="acknowledged 2"),
    "send clip.mp4 --camera line-1 --fps 10": Way(instead={"clip.mp4": a_video}, says="acknowledged 5"),
    "send rtsp://host/stream --camera line-1": Way(
        instead={"rtsp://host/stream": a_stream}, also=("--count", "5"), says="acknowledged 5"
    ),
    "send 'simulator:?seed=7' --camera line-2 --count 100": Way(says="acknowledged 100"),
    # Only what was sent here: other tests of the session delete objects and rows on purpose.
    "audit --wait 60": Way(
        before=("send", "simulator:?size=64", "--camera", "readme-audit", "--count", "7"),
        also=("--camera", "readme-audit"),
        says="7 stored",
    ),
    "trace FRAME_ID": Way(instead={"FRAME_ID": a_frame_id}, says="its bytes are the row's"),
    "up": Way(says="up in"),
    "down": Way(is_run=False),
    "status": Way(says="all is well"),
    "logs": Way(says="stream-0"),
    "logs SERVICE": Way(instead={"SERVICE": lambda *_: "stream"}, says="stream-1"),
    "connectors plan": Way(says="Nothing to do"),
    "connectors apply": Way(says="Every connector runs"),
    "connectors status": Way(says="frames_to_s3"),
    "dead-letters list": Way(),
    "dead-letters show": Way(is_run=False),  # they need a letter: tests/component/test_dead_letters.py has some
    "dead-letters replay": Way(is_run=False),
    "erase CAMERA --dry-run": Way(instead={"CAMERA": lambda *_: "nobody"}, says="no rows, 0 objects"),
    # The stack of these tests is core: test_promotion_story.py runs these on profile full,
    "model deliver FOLDER": Way(is_run=False),
    "model gate": Way(is_run=False),
    "model promote VERSION --reason TEXT": Way(is_run=False),
    "model rollback --reason TEXT": Way(is_run=False),
    "model list": Way(is_run=False),
    "model history": Way(is_run=False),
    # and tests/component/test_full_stack.py and test_login_command.py these.
    "up --profile full": Way(is_run=False),
    "login": Way(is_run=False),
    "logout": Way(is_run=False),
    "token --user scientist": Way(is_run=False),
    "auth doctor": Way(is_run=False),
}


def test_every_command_of_the_readme_is_run_below_and_no_other() -> None:
    assert sorted(commands_of(README.read_text("utf-8"))) == sorted(WAYS)


def test_commands_are_taken_out_of_code_blocks_with_their_alternatives() -> None:
    page = """
Not `sightline inline`.
```sh
sightline a b | c | d [NAME]   # a comment with sightline x
make up && uv run sightline send 'simulator:?a=1' --count 2
```
sightline outside
"""
    assert commands_of(page) == ["a b", "a c", "a d", "a d NAME", "send 'simulator:?a=1' --count 2"]


@pytest.mark.parametrize("command", WAYS)
def test_a_command_of_the_readme_runs(stack: Settings, command: str, tmp_path: Path) -> None:
    way, words = WAYS[command], shlex.split(command)
    if not way.is_run:
        told = succeed(stack, *(word for word in words if not word.startswith("-")), "--help").out
        assert [word for word in words if word.startswith("-") and word not in told] == []
        return
    assert set(way.instead) <= set(words)
    if way.before:
        succeed(stack, *way.before)
    with ExitStack() as closing:
        given = [way.instead[word](stack, tmp_path, closing) if word in way.instead else word for word in words]
        outcome = run(stack, *given, *way.also)
    assert outcome.code == 0, outcome.out + outcome.err
    assert way.says in outcome.out
