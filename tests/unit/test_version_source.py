"""Whether the files of a version lie where its run puts its own."""

from __future__ import annotations

import pytest

from inference.registry.source import lies_below

ROOT = "mlflow-artifacts:/1/abc/artifacts"


@pytest.mark.parametrize("uri", [f"{ROOT}/model", ROOT, f"{ROOT}//model/", "mlflow-artifacts:/1/abc/artifacts/%6Dodel"])
def test_what_lies_below_the_runs_artifacts_is_the_runs(uri: str):
    assert lies_below(uri, ROOT)


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts:/1/abc/artifacts2/model",
        "mlflow-artifacts:/1/other/artifacts/model",
        "mlflow-artifacts:/1/abc",
        "mlflow-artifacts:/1/abc/artifacts/../../other/artifacts/model",
        "mlflow-artifacts:/1/abc/artifacts/%2e%2e/%252e%252e/other",
        "mlflow-artifacts://elsewhere/1/abc/artifacts/model",
        "s3://1/abc/artifacts/model",
        "/1/abc/artifacts/model",
        "http://127.0.0.1:1/1/abc/artifacts/model",
        "mlflow-artifacts:/1/abc/artifacts/model?x=y",
        "mlflow-artifacts:/1/abc/artifacts\\..\\model",
        "",
    ],
)
def test_anything_else_is_not(uri: str):
    assert not lies_below(uri, ROOT)


def test_a_whole_store_is_nobodys():
    assert not lies_below("s3://models/anything", "s3://models/")
    assert lies_below("/srv/mlruns/0/abc/artifacts/model", "/srv/mlruns/0/abc/artifacts")
