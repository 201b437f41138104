"""One version of a registered model, with its files on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import Misconfigured
from inference.domain.model_spec import FILE_NAME, MODEL_FILE_NAME, parse

# Served from a folder rather than the registry (tests, benchmarks), a model has no version.
FOLDER_VERSION: Final = "0"


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
        """Whether the files in `folder` are what the digests say."""
        if self.folder is None:
            return False
        wanted = {MODEL_FILE_NAME: self.digest} | ({FILE_NAME: self.spec_digest} if self.spec_digest else {})
        try:
            return all(digest_of(self.folder / name) == digest for name, digest in wanted.items())
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


def digest_of(file: Path) -> str:
    """The sha256 of a file, lower-case hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
