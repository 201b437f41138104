"""How Keycloak is built and run: its own Java entry point, without kc.sh between us and it.

    archive ──build: for Postgres, with health and metrics──► the cache ──start --optimized──► one java process

kc.sh starts java as a child and waits: a signal for it would not reach the server when the shell is killed. The options
are kc.sh's own, but for a small heap and the quick compiler alone: 300 MiB and 7 s instead of 410 MiB and 17 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Decided when it is built, once per version: what changes here makes another folder in the cache.
BUILD: Final = ("build", "--db=postgres", "--health-enabled=true", "--metrics-enabled=true")
START: Final = ("start", "--optimized")

HEAP_MEGABYTES: Final = 256

# Its own account in the realm master: the bootstrap's, for the Admin API alone.
ADMIN_CLIENT: Final = "sightline-setup"
REALM: Final = "sightline"

_OPENED: Final = ("java.util", "java.util.concurrent", "java.security", "java.lang")
_POOL: Final = "io.quarkus.bootstrap.forkjoin.QuarkusForkJoinWorkerThreadFactory"


def command(java: Path, folder: Path, *arguments: str, java_archive: Path | None = None) -> tuple[str, ...]:
    """One run of Keycloak.

    Args:
        java: the program.
        folder: where its archive lies.
        arguments: BUILD or START.
        java_archive: class data of the JDK, for a faster start.
    """
    archive = (f"-XX:SharedArchiveFile={java_archive}",) if java_archive else ()
    return (
        str(java),
        *("-Xms64m", f"-Xmx{HEAP_MEGABYTES}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *archive),
        *("-XX:MaxMetaspaceSize=256m", "-XX:+ExitOnOutOfMemoryError", "-Dfile.encoding=UTF-8"),
        *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
        "--enable-native-access=ALL-UNNAMED",
        *("-Duser.language=en", "-Duser.country=US", "-Djava.awt.headless=true"),
        *(f"-Dkc.home.dir={folder}", f"-Djboss.server.config.dir={folder / 'conf'}"),
        "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
        f"-Djava.util.concurrent.ForkJoinPool.common.threadFactory={_POOL}",
        "-Dpicocli.disable.closures=true",
        *("-cp", str(folder / "lib" / "quarkus-run.jar"), "io.quarkus.bootstrap.runner.QuarkusEntryPoint"),
        *arguments,
    )


def environment(
    *, url: str, host: str, port: int, management_port: int, jdbc_url: str, user: str, password: str, admin_secret: str
) -> dict[str, str]:
    """What a server runs with. The admin account is made at the first start on an empty database, and never again.

    Args:
        url: as browsers and token checkers see it; it is the beginning of the tokens' issuer.
        host: the one address that it listens on.
        port: pages and tokens.
        management_port: health and metrics.
        jdbc_url: of its database.
        user: of the database.
        password: of the database.
        admin_secret: of the account ADMIN_CLIENT.
    """
    return {
        "KC_HOSTNAME": url,
        "KC_HTTP_ENABLED": "true",
        "KC_HTTP_HOST": host,
        "KC_HTTP_PORT": str(port),
        "KC_HTTP_MANAGEMENT_PORT": str(management_port),
        "KC_CACHE": "local",
        "KC_DB_URL": jdbc_url,
        "KC_DB_USERNAME": user,
        "KC_DB_PASSWORD": password,
        "KC_DB_POOL_INITIAL_SIZE": "1",
        "KC_DB_POOL_MIN_SIZE": "1",
        "KC_DB_POOL_MAX_SIZE": "10",
        "KC_LOG_LEVEL": "info,io.smallrye.health:error,com.arjuna:warn,org.infinispan:warn",
        "KC_BOOTSTRAP_ADMIN_CLIENT_ID": ADMIN_CLIENT,
        "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": admin_secret,
    }
