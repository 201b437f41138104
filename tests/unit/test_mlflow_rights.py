"""Which right each of MLflow's routes asks for; what is new there is never open by being new."""

from __future__ import annotations

import re

import pytest

from sightline.stack.mlflow_rights import (
    Right,
    makes_a_version,
    makes_an_experiment,
    names_a_tag,
    right_of,
    right_of_new_version,
    right_of_tag,
)

ALIAS = "mlflow/registered-models/alias"


@pytest.mark.parametrize("prefix", ["/api/2.0/", "/ajax-api/2.0/", "/api/3.0/", "/api/2.0//", "//ajax-api/2.0/"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
def test_writing_an_alias_is_for_two_accounts_however_it_is_written(prefix: str, method: str):
    assert right_of(method, prefix + ALIAS) is Right.ALIASES
    assert right_of(method, f"{prefix}{ALIAS}/") is Right.ALIASES


def test_reading_an_alias_is_reading():
    assert right_of("GET", f"/api/2.0/{ALIAS}") is Right.READ


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/2.0/mlflow/model-versions/delete"),
        ("DELETE", "/ajax-api/2.0/mlflow/registered-models/delete"),
        ("POST", "/api/2.0/mlflow/registered-models/rename"),
        ("POST", "/api/2.0/mlflow/model-versions/transition-stage"),
        ("DELETE", "/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/model/model.onnx"),
    ],
)
def test_what_would_take_a_champion_away_is_for_the_same_two(method: str, path: str):
    assert right_of(method, path) is Right.ALIASES


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("GET", "/health", Right.PUBLIC),
        ("GET", "/version", Right.PUBLIC),
        ("POST", "/health", Right.WRITE),
        ("GET", "/", Right.READ),
        ("GET", "/static-files/index.html", Right.READ),
        ("GET", "/get-artifact", Right.READ),
        ("POST", "/graphql", Right.READ),
        ("POST", "/api/2.0/mlflow/runs/search", Right.READ),
        ("POST", "/api/2.0/mlflow/experiments/search", Right.READ),
        ("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", Right.READ),
        ("POST", "/api/3.0/mlflow/traces/search", Right.READ),
        ("POST", "/api/2.0/mlflow/logged-models/search", Right.READ),
        ("POST", "/api/2.0/mlflow/runs/create", Right.WRITE),
        ("POST", "/api/2.0/mlflow/model-versions/create", Right.WRITE),
        ("POST", "/api/2.0/mlflow/registered-models/create", Right.WRITE),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts/model.onnx", Right.WRITE),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact", Right.NOBODY),
        ("POST", "/api/2.0/mlflow/artifacts/presigned-upload-url", Right.NOBODY),
        ("POST", "/v1/traces", Right.NOBODY),
        ("PATCH", "/api/3.0/mlflow/traces/mlflow-artifacts/tags", Right.NOBODY),
        ("GET", "/ajax-api/3.0/mlflow/traces/tr-1", Right.READ),
        ("POST", "/ajax-api/3.0/mlflow/assistant/mlflow-artifacts/message", Right.NOBODY),
        ("DELETE", "/api/2.0/mlflow/logged-models/m-1", Right.ALIASES),
        ("DELETE", "/api/2.0/mlflow/logged-models/m-1/tags/x", Right.WRITE),
        ("POST", "/api/9.9/mlflow/something-new", Right.WRITE),
        ("POST", "/search", Right.READ),
        ("POST", "/ajax-api/3.0/mlflow/assistant/message", Right.NOBODY),
        ("GET", "/ajax-api/3.0/mlflow/assistant/status", Right.NOBODY),
        ("GET", "/ajax-api/2.0/mlflow/gateway-proxy", Right.NOBODY),
        ("GET", "/ajax-api/3.0/mlflow/workspaces", Right.READ),
        ("POST", "/api/2.0/mlflow/webhooks", Right.NOBODY),
        ("POST", "/api/3.0/mlflow/gateway/secrets/create", Right.NOBODY),
        ("POST", "/gateway/x/mlflow/invocations", Right.NOBODY),
    ],
)
def test_the_right_of_a_route(method: str, path: str, right: Right):
    assert right_of(method, path) is right


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of SQLAlchemy
@pytest.mark.parametrize("parameter", ["x", "search", "mlflow-artifacts"])
def test_nothing_that_changes_something_is_open_to_readers(parameter: str):
    """Every rule of the installed MLflow: what is no GET and no search needs more than reading."""
    from mlflow.server import app

    writes = 0
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(path:)?[^>]+>", parameter, rule.rule)
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            if right_of(method, path) is not Right.READ:
                writes += 1
                continue
            assert re.search(r"search|graphql|get-|batchGet|calculate|metrics$|ui-telemetry", path), (method, path)
    assert writes > 100


@pytest.mark.parametrize("what", ["create", "complete", "abort"])
def test_a_file_called_search_is_no_search(what):
    path = f"/api/2.0/mlflow-artifacts/mpu/{what}/1/abc/artifacts/model/search"
    assert right_of("POST", path) is Right.WRITE


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_graphql_changes_nothing_in_the_installed_mlflow():
    from mlflow.server.graphql.graphql_schema_extensions import schema

    fields = set(schema.graphql_schema.mutation_type.fields)
    assert fields == {"testMutation", "mlflowSearchRuns", "mlflowSearchDatasets"}  # an echo, and searches


@pytest.mark.parametrize(
    "key",
    ["digest", "spec_digest", "training_digest", "licence", "source", "gate.status", "gate", "promoted", "approved_by"],
)
def test_tags_that_say_what_a_version_is_are_not_the_scientists(key: str):
    assert right_of_tag(key) is Right.ALIASES


def test_other_tags_are_and_what_names_none_is_refused():
    assert right_of_tag("note") is Right.WRITE
    assert right_of_tag("digest_of_something") is Right.WRITE
    assert right_of_tag(None) is Right.NOBODY
    assert right_of_tag(["digest"]) is Right.NOBODY
    assert names_a_tag("POST", "/ajax-api/2.0//mlflow/model-versions/set-tag")
    assert names_a_tag("DELETE", "/api/2.0/mlflow/model-versions/delete-tag")
    assert not names_a_tag("POST", "/api/2.0/mlflow/runs/set-tag")


def test_a_version_is_made_with_what_it_is_and_not_with_what_comes_after():
    assert right_of_new_version(None) is Right.WRITE
    assert (
        right_of_new_version([{"key": "digest", "value": "a"}, {"key": "source", "value": "delivery"}]) is Right.WRITE
    )
    for key in ("promoted", "approved_by", "approved_at", "gate.status", "gate"):
        assert right_of_new_version([{"key": "note"}, {"key": key, "value": "1"}]) is Right.ALIASES
    assert right_of_new_version({"promoted": "1"}) is Right.NOBODY
    assert right_of_new_version(["promoted"]) is Right.NOBODY


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_bodies_that_name_a_place_are_read_on_every_route_of_the_installed_mlflow():
    from mlflow.server import app

    named = {
        (rule.rule, is_version)
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        for is_version, asks in ((True, makes_a_version), (False, makes_an_experiment))
        if asks(method, rule.rule)
    }
    ends = ("mlflow/model-versions/create", True), ("mlflow/experiments/create", False)
    assert named == {(f"/{api}/2.0/{end}", which) for api in ("api", "ajax-api") for end, which in ends}
