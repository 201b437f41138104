from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from connectors.api_client import Api, quoted
from contracts.errors import Misconfigured, PipelineError, Rejected, Transient
from contracts.settings import Settings

Answer = Callable[[httpx.Request], httpx.Response]


def an_api(answer: Answer) -> Api:
    return Api(Settings(), token=lambda _: "a-token", transport=httpx.MockTransport(answer))


def a_problem(status: int, code: str = "some_code", **headers: str) -> Answer:
    body = {"code": code, "detail": "what happened and what to do", "status": status}
    return lambda _: httpx.Response(status, json=body, headers=headers)


def test_a_call_carries_the_token_and_the_body() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"id": 7})

    with an_api(answer) as api:
        assert api.post("/v1/models/3/promote", {"reason": "better"}) == {"id": 7}
        assert api.get("/v1/promotions", limit=5) == {"id": 7}
    assert [request.headers["Authorization"] for request in asked] == ["Bearer a-token"] * 2
    assert json.loads(asked[0].content) == {"reason": "better"}
    assert asked[1].url.params["limit"] == "5"


def test_an_answer_without_a_body_is_none() -> None:
    assert an_api(lambda _: httpx.Response(204)).post("/v1/x") is None


def test_what_is_taken_away_is_asked_for_as_such() -> None:
    api = an_api(lambda request: httpx.Response(200, json={"method": request.method, "path": request.url.path}))
    assert api.delete("/v1/models/3/challenger") == {"method": "DELETE", "path": "/v1/models/3/challenger"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Misconfigured), (403, Misconfigured), (404, Rejected), (409, Rejected), (422, Rejected),
        (500, Misconfigured), (502, Transient), (503, Transient), (504, Transient),
    ],
)  # fmt: skip
def test_a_problem_becomes_the_error_that_says_what_next(status: int, kind: type[PipelineError]) -> None:
    with pytest.raises(kind, match="what happened and what to do"):
        an_api(a_problem(status)).get("/v1/models")


def test_the_code_of_a_refusal_and_the_pause_of_an_outage_are_kept() -> None:
    with pytest.raises(Rejected) as refusal:
        an_api(a_problem(409, "gate_not_passed")).post("/v1/models/2/promote", {})
    assert refusal.value.code == "gate_not_passed"
    with pytest.raises(Transient) as outage:
        an_api(a_problem(503, **{"Retry-After": "4"})).get("/v1/models")
    assert outage.value.retry_after.total_seconds() == 4


def test_an_answer_that_is_no_problem_document_is_told_by_its_status() -> None:
    with pytest.raises(Transient, match="Bad Gateway"):
        an_api(lambda _: httpx.Response(502, text="<html>nginx</html>")).get("/v1/models")


def test_an_api_that_is_away_is_worth_trying_again_and_says_how_to_start_it() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(Transient, match="sightline up --profile full"):
        an_api(nobody).get("/v1/models")


def test_a_version_from_outside_stays_one_piece_of_the_path() -> None:
    assert quoted("../3?x=1") == "..%2F3%3Fx%3D1"
