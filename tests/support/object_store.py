"""A real S3 server for a test: versitygw in a folder of its own on a free port, gone afterwards.

    with object_store() as server:
        store = FrameStore(server.settings)      # the buckets are there

The program is the local stack's; `make setup` or `make test` puts it into the cache.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from contracts.settings import S3Settings, Settings
from inference.persistence.objects import ensure_buckets
from sightline.stack import install
from tests.support.postgres import free_port

START_SECONDS = 30


@dataclass(kw_only=True)
class ObjectStoreServer:
    """One running server. stop() and start() let a test take it away for a while."""

    program: Path
    folder: Path
    settings: S3Settings
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self.settings.endpoint_url.rpartition(":")[2])

    def start(self) -> None:
        # The sidecar holds the metadata, whether this filesystem has extended attributes or not.
        command = [str(self.program), "--port", f"127.0.0.1:{self.port}", "--quiet"]
        command += ["posix", "--sidecar", str(self.folder / "metadata"), str(self.folder / "data")]
        secret = self.settings.secret_key.get_secret_value()
        environment = os.environ | {"ROOT_ACCESS_KEY_ID": self.settings.access_key, "ROOT_SECRET_ACCESS_KEY": secret}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)
            self.process = None


@contextmanager
def object_store() -> Iterator[ObjectStoreServer]:
    program = install.binaries(Settings.load()).versitygw
    assert program.is_file(), f"{program} is missing: `make setup` builds it"
    folder = Path(tempfile.mkdtemp(prefix="sightline-s3-"))
    for name in ("data", "metadata"):
        (folder / name).mkdir()
    settings = S3Settings(
        endpoint_url=f"http://127.0.0.1:{free_port()}", access_key="test", secret_key=SecretStr("secret")
    )
    server = ObjectStoreServer(program=program, folder=folder, settings=settings)
    try:
        server.start()
        ensure_buckets(Settings(s3=settings))
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
