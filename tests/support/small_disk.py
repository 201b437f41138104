"""Small filesystems that can be filled: a file with a filesystem in it, mounted. Needs root, as mounting does.

    disk = mount(folder / "data" / "kafka", megabytes=1024)
    with disk.full(): ...            not a byte is free
    disk.unmount()

The machine's own disk gets a file with holes, and loses only what is really written into it.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallDisk:
    folder: Path
    image: Path

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is free, until the end of the block."""
        ballast = self.folder / "ballast"
        try:
            with ballast.open("wb") as file:
                _fill(file.fileno(), shutil.disk_usage(self.folder).free)
            yield
        finally:
            ballast.unlink()

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.folder)], check=True)
        self.image.unlink()


def need_one() -> None:
    """Skips a test of `make test` on a machine that lets nobody mount; the suite of faults fails there instead."""
    with TemporaryDirectory() as folder:
        try:
            mount(Path(folder) / "trial", megabytes=1).unmount()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"not run: mounts a small disk, which needs root and a loop device ({error})")


def mount(folder: Path, *, megabytes: int) -> SmallDisk:
    """A new filesystem at this folder; what is in the folder already moves into it, with owners and modes.

    The image lies beside the folder, under a name of its own.
    """
    image = folder.with_name(f"{folder.name}.image")
    with image.open("wb") as file:
        file.truncate(megabytes * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, capture_output=True)
    aside = folder.with_name(f"{folder.name}.before")
    is_there = folder.is_dir()
    if is_there:
        folder.rename(aside)
    folder.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, capture_output=True)
    (folder / "lost+found").rmdir()
    if is_there:
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
        shutil.rmtree(aside)
    return SmallDisk(folder=folder, image=image)


def _fill(handle: int, free: int) -> None:
    """First in one go, then in ever smaller pieces, until not even one more block fits."""
    piece, at = free, 0
    while piece >= 512:
        try:
            os.posix_fallocate(handle, at, piece)
            at += piece
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            at = os.fstat(handle).st_size
            piece //= 2
