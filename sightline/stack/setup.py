"""`make setup`: from a clone and a machine's own Python to an environment and binaries. Standard library only.

    python3 -m sightline.stack.setup
      prerequisites  python3 >= 3.11, javac >= 17, Maven: what is missing is named, with the line that installs it
      uv             the one on PATH, else a pinned one in an environment of its own, in the cache
      packages       uv sync --frozen
      binaries       python -m sightline.stack.install

Runs with any Python 3 that the machine calls python3, and then looks for one that is new enough.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from sightline.stack import prerequisites, versions
from sightline.stack.cache import cache_folder

ROOT = Path(__file__).resolve().parents[2]
TAIL_LINES = 30
MISCONFIGURED = 78
TRY_AGAIN = 75


class SetupError(Exception):
    """One step did not succeed; the message says what to do."""

    def __init__(self, message: str, code: int = MISCONFIGURED) -> None:
        super().__init__(message)
        self.code = code


def main() -> int:
    """Every step is quick when there is nothing to do."""
    try:
        python = find_python()
        uv = find_uv() or install_uv(python)
        sync(uv, python)
        return subprocess.call([str(environment() / "bin" / "python"), "-m", "sightline.stack.install"], cwd=str(ROOT))
    except SetupError as failure:
        print("sightline: {}".format(failure), file=sys.stderr)
        return failure.code


def find_python() -> str:
    """A Python that is new enough: this one, or another on PATH that runs."""
    names = [sys.executable, "python3", *("python3.{}".format(minor) for minor in range(14, 10, -1))]
    for name in names:
        found = shutil.which(name)
        if found and (version_of(found) or (0,)) >= numbers(versions.PYTHON_MINIMUM):
            return found
    raise SetupError(
        "no Python {} or newer. Install one: {}".format(
            versions.PYTHON_MINIMUM, prerequisites.how_to_install("python3")
        )
    )


def version_of(python: str) -> tuple[int, ...] | None:
    """The version a program reports; None if it does not run (pyenv has such stand-ins)."""
    try:
        ended = subprocess.run([python, "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return numbers(ended.stdout) if ended.returncode == 0 else None


def numbers(text: str) -> tuple[int, ...]:
    """The first dotted number in a text."""
    found = re.search(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def find_uv() -> str | None:
    """The private one, or one on PATH that is new enough."""
    private = private_uv()
    if private.is_file():
        return str(private)
    found = shutil.which("uv")
    if found and (version_of(found) or (0,)) >= numbers(versions.UV_MINIMUM):
        return found
    return None


def private_uv() -> Path:
    """Where a uv of ours lies."""
    return cache_folder() / "uv-{}".format(versions.UV) / "bin" / "uv"


def install_uv(python: str) -> str:
    """A pinned uv, in a folder that appears whole. Two clones may do this at once: the first to finish wins."""
    target = private_uv().parents[1]
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name("{}-{}".format(target.name, os.getpid()))
    try:
        run("uv (environment)", [python, "-m", "venv", str(building)])
        run("uv", [str(building / "bin" / "pip"), "install", "--quiet", "uv=={}".format(versions.UV)])
        if not target.exists():
            building.rename(target)
    finally:
        shutil.rmtree(str(building), ignore_errors=True)
    return str(private_uv())


def sync(uv: str, python: str) -> None:
    """The environment as uv.lock says. The interpreter is named only where none was chosen yet."""
    settings = dict(os.environ, UV_PYTHON_DOWNLOADS="never")  # packages come from registries, interpreters do not
    command = [uv, "sync", "--frozen", "--quiet"]
    if not environment().is_dir():
        # A stand-in of pyenv cannot be named to uv; what it stands for can.
        real = subprocess.check_output([python, "-c", "import sys; print(sys.executable)"], text=True).strip()
        command += ["--python", real]
    # Compiled once here, every process of the stack starts twice as fast: MLflow's server alone loads 3,000 modules.
    stamp = environment() / ".sightline-compiled"
    lock = hashlib.sha256((ROOT / "uv.lock").read_bytes()).hexdigest()
    is_compiled = stamp.is_file() and stamp.read_text() == lock
    run("Python packages", command if is_compiled else [*command, "--compile-bytecode"], settings)
    stamp.write_text(lock)


def environment() -> Path:
    """The project's environment."""
    return ROOT / os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv")


def run(what: str, command: list[str], settings: dict[str, str] | None = None) -> None:
    """Runs one step with its output in a log; speaks only if it takes long or fails."""
    logs = cache_folder() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / "setup-{}.log".format(re.sub(r"\W+", "-", what.lower()).strip("-"))
    started = time.monotonic()
    told = False
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=str(ROOT), env=settings, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            elapsed = time.monotonic() - started
            if elapsed > 2 and not told:
                print("  {} …".format(what), flush=True)
                told = True
            time.sleep(0.05)
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        raise SetupError("{} failed:\n{}\nThe whole log: {}".format(what, tail, log), TRY_AGAIN)
    if told:
        print("  {} done in {:.0f} s".format(what, time.monotonic() - started), flush=True)


if __name__ == "__main__":
    sys.exit(main())
