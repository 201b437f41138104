"""What a request to MLflow would write and what a location names, however either is spelled."""

from __future__ import annotations

import pytest

from sightline.stack.mlflow_places import ROOT, overlap, place_of, refused_location, refused_source, written_by

MODEL = ("1", "abc", "artifacts", "model")
FILES = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.mark.parametrize(
    "path",
    [
        f"{FILES}/1/abc/artifacts/model/model.json",
        "/ajax-api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/model/model.json",
        f"{FILES}/1/abc//artifacts/./model/model.json",
        f"{FILES}/1/abc/artifacts%2Fmodel/model.json",
        f"{FILES}/1/abc/artifacts/%256Dodel/model.json",
        f"{FILES}/1/abc/artifacts/model/model.json%3F",
    ],
)
def test_every_spelling_of_a_file_is_that_file(path: str):
    assert written_by("PUT", path) == (*MODEL, "model.json")


@pytest.mark.parametrize("what", ["create", "complete", "abort"])
def test_an_upload_in_parts_writes_below_its_folder(what: str):
    assert written_by("POST", f"/api/2.0/mlflow-artifacts/mpu/{what}/1/abc/artifacts/model") == MODEL


@pytest.mark.parametrize(
    "path",
    [
        f"{FILES}/1/abc/../abc/artifacts/model/model.json",
        f"{FILES}/1/abc/%2e%2e/artifacts",
        f"{FILES}/file:1/abc/artifacts/model/model.json",
        f"/{FILES}/1/abc/artifacts/model/model.json",
        "/api/2.0/mlflow-artifacts//artifacts/1/abc",
        "/api/2.0/mlflow-artifacts/something-new/1/abc",
        "/api/2.0/mlflow-artifacts",
    ],
)
def test_where_nobody_can_tell_it_may_be_anything(path: str):
    assert written_by("PUT", path) == ROOT
    assert overlap(ROOT, MODEL)


def test_looking_writes_nothing_and_neither_do_other_routes():
    assert written_by("GET", f"{FILES}/1/abc") is None
    assert written_by("POST", "/api/2.0/mlflow/runs/create") is None


def test_what_lies_in_another_overlaps_with_it_and_a_neighbour_does_not():
    assert overlap(MODEL, (*MODEL, "golden", "golden.json"))
    assert overlap(MODEL, MODEL[:2])
    assert not overlap(MODEL, (*MODEL[:3], "model2"))
    assert not overlap(MODEL, (*MODEL[:3], "evidence"))


@pytest.mark.parametrize("location", [None, "", "mlflow-artifacts:/boards", "mlflow-artifacts:/"])
def test_an_experiment_may_keep_its_files_in_mlflows_own_place(location: object):
    assert refused_location({"name": "e", "artifact_location": location}) is None
    assert refused_location({"name": "e"}) is None


@pytest.mark.parametrize(
    "location",
    [
        "/srv/models",
        "srv",
        "file:///srv",
        "s3://frames",
        "http://127.0.0.1:1/api/2.0/mlflow-artifacts/artifacts/x",
        "mlflow-artifacts://elsewhere/x",
        "mlflow-artifacts:x",
        "mlflow-artifacts:/x/../y",
        "mlflow-artifacts:/x/%2e%2e/y",
        "mlflow-artifacts:/x?y",
        ["mlflow-artifacts:/x"],
        7,
    ],
)
@pytest.mark.parametrize("key", ["artifact_location", "artifactLocation"])
def test_an_experiment_may_not_keep_them_anywhere_else(key: str, location: object):
    assert "artifact_location" in (refused_location({"name": "e", key: location}) or "")


def test_a_version_lies_below_mlflows_root_or_is_a_model_that_does():
    for source in ("mlflow-artifacts:/1/abc/artifacts/model", "models:/m-1", "models:/m/3"):
        assert refused_source({"source": source}) is None
    for other in (None, 7, "", "mlflow-artifacts:/", "s3://frames/x", "/srv", "runs:/abc/model", "models://host/m/1"):
        assert "log the files first" in (refused_source({"source": other}) or "")


def test_a_location_with_a_percent_is_where_mlflow_would_put_it():
    assert place_of("mlflow-artifacts:/1/abc/artifacts/mod%65l") == MODEL
