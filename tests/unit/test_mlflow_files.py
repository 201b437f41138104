"""Which of MLflow's files may be written: not a version's, and not one that becomes a version's meanwhile."""

from __future__ import annotations

import anyio
import pytest

from contracts.errors import Transient
from sightline.stack.mlflow_files import Files

RUN = ("1", "abc", "artifacts")
MODEL = (*RUN, "model")
FILE = (*MODEL, "model.json")
LOCATION = "mlflow-artifacts:/1/abc/artifacts/model"


def files(*locations: str) -> Files:
    return Files(registered=lambda: locations, resolve=lambda source: source)


def test_a_versions_files_are_fixed_and_others_are_not():
    some = files(LOCATION, "REDACTED-SOURCE-PATH", "s3://elsewhere/x")
    assert anyio.run(some.is_fixed, FILE)
    assert anyio.run(some.is_fixed, RUN)  # a file in the folder's place would hide it
    assert not anyio.run(some.is_fixed, (*RUN, "evidence", "latency.json"))
    assert not anyio.run(files().is_fixed, FILE)


def test_an_upload_sees_the_version_that_is_being_made_and_the_version_sees_the_upload():
    some = files()
    with some.registering(MODEL):
        assert anyio.run(some.is_fixed, FILE)
    assert not anyio.run(some.is_fixed, FILE)
    with some.writing(FILE):
        assert some.is_being_written(MODEL)
        assert not some.is_being_written((*RUN, "other"))
    assert not some.is_being_written(MODEL)


def test_two_uploads_to_one_place_are_two_and_a_failed_one_is_none():
    some = files()
    with some.writing(FILE):
        with pytest.raises(ValueError, match="gone"), some.writing(FILE):
            raise ValueError("gone")
        assert some.is_being_written(FILE)
    assert not some.is_being_written(FILE)


def test_without_the_database_nothing_is_taken_for_free():
    def away() -> list[str]:
        raise Transient("the database is away")

    with pytest.raises(Transient):
        anyio.run(Files(registered=away).is_fixed, FILE)
