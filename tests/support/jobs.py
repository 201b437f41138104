"""Jobs as their front door runs them, and an API for them that lives in the test's own process.

result, code = run_job("watch", settings, "--promotion", "3")
monkeypatch.setattr(watch, "Api", partial(an_api, client))          the real routes behind a real client
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
from fastapi.testclient import TestClient

from connectors.api_client import Api
from contracts.settings import Settings
from inference.batch.__main__ import parser_of

JOBS_TOKEN = "5e55/service-account-sightline-jobs/sightline-jobs/approver,scientist,viewer"


def run_job(
    name: str, settings: Settings, *arguments: str, say: Callable[[str], None] = lambda _: None
) -> tuple[dict[str, Any], int]:
    """The job's result, as whoever reads it from JSON sees it, and its exit code."""
    parser, module = parser_of(name)
    result = module.run(settings, parser.parse_args(list(arguments)), say)
    return json.loads(json.dumps(result.fields, default=str)), int(result.exit_code)


def an_api(client: TestClient, settings: Settings) -> Api:
    """Asks the test's own application, as the account of jobs."""

    def forwarded(request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode()
        answer = client.request(request.method, path, content=request.content, headers=dict(request.headers))
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers))

    return Api(settings, token=lambda _: JOBS_TOKEN, transport=httpx.MockTransport(forwarded))
