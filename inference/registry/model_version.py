"""One version of a registered model, with its files on this machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured
from inference.domain.model_spec import FILE_NAME, GOLDEN_KEY, MODEL_FILE_NAME, parse

# Served from a folder rather than the registry (tests, benchmarks), a model has no version.
FOLDER_VERSION: Final = "0"
GOLDEN_FOLDER: Final = "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """A model as predictions name it."""

    name: str  # of the registered model
    version: str
    digest: str  # sha256 of model.onnx, lower-case hex: what ran
    folder: Path | None  # holds model.onnx and model.json; None for an engine without files
    licence: str  # SPDX
    spec_digest: str = ""  # sha256 of model.json; empty where it was never written down

    def is_whole(self) -> bool:
        """Whether the files in `folder` are what the digests say; those of golden/ where model.json states theirs."""
        if self.folder is None:
            return False
        wanted = {MODEL_FILE_NAME: self.digest} | ({FILE_NAME: self.spec_digest} if self.spec_digest else {})
        try:
            is_own = all(digest_of(self.folder / name) == digest for name, digest in wanted.items())
            return is_own and all(
                digest_of(self.folder / GOLDEN_FOLDER / name) == digest for name, digest in _golden(self.folder)
            )
        except OSError:  # missing, or the disk cannot give it
            return False


def of_folder(folder: Path, *, name: str, version: str = FOLDER_VERSION) -> ModelVersion:
    """The model in a folder as a version.

    Raises:
        Misconfigured: the folder holds no model.json and model.onnx, or they do not fit.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
        spec = parse(text)
        digest = digest_of(folder / MODEL_FILE_NAME)
    except OSError as error:
        raise Misconfigured(f"cannot read the model in {folder}: {error.strerror} ({error.filename})") from error
    return ModelVersion(
        name=name,
        version=version,
        digest=digest,
        folder=folder,
        licence=spec.licence,
        spec_digest=hashlib.sha256(text).hexdigest(),
    )


def described(folder: Path) -> bytes:
    """The folder's model.json as it is registered: with the digests of all that lies under golden/.

    Raises:
        Misconfigured: there is no model.json, or it is none.
    """
    try:
        text = (folder / FILE_NAME).read_bytes()
        files = sorted(file for file in (folder / GOLDEN_FOLDER).glob("*") if file.is_file())
        golden = {file.name: digest_of(file) for file in files}
    except OSError as error:
        raise Misconfigured(f"cannot read the model in {folder}: {error.strerror} ({error.filename})") from error
    if dict(parse(text).golden) == golden:
        return text
    document = json.loads(text) | {GOLDEN_KEY: golden}
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _golden(folder: Path) -> tuple[tuple[str, str], ...]:
    try:
        return parse((folder / FILE_NAME).read_bytes()).golden
    except Misconfigured:  # who loads it says what does not fit: that is no damage
        return ()


def digest_of(file: Path) -> str:
    """The sha256 of a file, lower-case hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
