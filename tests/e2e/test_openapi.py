"""Schemathesis over the whole description, on the whole stack: no 500, and every answer as documented.

    stack of profile full ─► /openapi.json ─► each operation, and unfitting ─► status, type, body

Who asks has every role, and half of the requests name what is really there: a frame, a dead letter, a version that the
gate passed. Nothing is left out for what it does: champions change, letters are replayed. The stack is a test's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from connectors.cameras.boards import encode_jpeg, simulate_board
from connectors.kafka import make_producer
from connectors.schema_registry import SchemaRegistry
from connectors.serialisation import Codec
from contracts.settings import Settings
from inference.api.permissions import PERMISSIONS, Role
from inference.persistence import gate_verdicts
from inference.persistence.database import open_connection
from inference.persistence.gate_verdicts import Verdict
from inference.registry.gate_files import gate_file
from sightline.stack.home import Home
from sightline.stack.logins import read as read_logins
from tests.support.command_line import run_as, succeed
from tests.support.handovers import DEMO, WEAKER, a_handover
from tests.support.records import a_frame_record
from tests.support.waiting import eventually

CAMERA = "described"
EXAMPLES = 10  # of fitting and of unfitting requests each, per operation
SLOW_EXAMPLES = 4  # of what reads topics
SLOW = {"/v1/audit", "/v1/pipeline", "/v1/frames/{frame_id}/trace", "/v1/dead-letters"}
ANSWER_SECONDS = 60  # of a busy machine
TOKEN_SECONDS = 120  # one lives for five minutes
UNDESCRIBED = {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/docs/assets/{name}"}  # the pages that describe

CONFORMANCE = [status_code_conformance, content_type_conformance, response_schema_conformance]
IMAGE = encode_jpeg(simulate_board(seed=3, index=0, size=320))
schemathesis.openapi.media_type("image/jpeg", st.sampled_from([IMAGE, IMAGE[:2000], b""]) | st.binary(max_size=64))
schemathesis.openapi.media_type("image/png", st.binary(max_size=64))


class Asker:
    """Sends requests as somebody with every role: a camera's account, and the administrator for all else."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.api.url
        self._settings = settings
        self._tokens: dict[str, tuple[str, float]] = {}
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        self._session.close()

    def ask(self, case: Any) -> Any:
        role = PERMISSIONS[(case.method.upper(), case.operation.path)]
        who = CAMERA if role is Role.CAMERA else "admin"
        headers = {"Authorization": f"Bearer {self.token(who)}"}
        return case.call(base_url=self.url, session=self._session, headers=headers, timeout=ANSWER_SECONDS)

    def token(self, who: str) -> str:
        token, until = self._tokens.get(who, ("", 0.0))
        if time.monotonic() > until:
            token = self._new_token(who)
            self._tokens[who] = (token, time.monotonic() + TOKEN_SECONDS)
        return token

    def _new_token(self, who: str) -> str:
        logins = read_logins(Home(self._settings.stack.home))
        if who == CAMERA:
            client = "sightline-camera-demo"
            form = {"grant_type": "client_credentials", "client_id": client, "client_secret": logins.accounts[client]}
        else:
            form = {"grant_type": "password", "username": who, "password": logins.people[who]}
            form["client_id"] = "sightline-demo"
        url = f"{self._settings.auth.issuer}/protocol/openid-connect/token"
        answer = httpx.post(url, data=form, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def ticket(self, frame_id: str) -> str:
        url: str = self.get(f"/v1/frames/{frame_id}")["image"]["url"]
        return url.rpartition("/")[2]

    def get(self, path: str, **query: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token('admin')}"}
        answer = self._session.get(self.url + path, params=query, headers=headers, timeout=ANSWER_SECONDS)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def asker(full_stack: Settings) -> Iterator[Asker]:
    asker = Asker(full_stack)
    yield asker
    asker.close()


@pytest.fixture(scope="module")
def schema(full_stack: Settings, asker: Asker) -> Any:
    document = httpx.get(f"{full_stack.api.url}/openapi.json", trust_env=False).json()
    return schemathesis.openapi.from_dict(
        document, config=SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    )


@pytest.fixture(scope="module")
def known(full_stack: Settings, asker: Asker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What is there, by the name of the parameter in the path."""
    succeed(full_stack, "send", "simulator:?size=320", "--camera", CAMERA, "--count", "5")
    refused(full_stack)
    version = a_version_that_the_gate_passed(full_stack, a_handover(tmp_path_factory.mktemp("another") / "weaker"))

    def stored() -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = asker.get("/v1/frames", camera=CAMERA)["frames"]
        return frames if len(frames) == 5 and all(frame["prediction"] for frame in frames) else []

    def letters() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = asker.get("/v1/dead-letters")["dead_letters"]
        return found if len({letter["consumer"] for letter in found}) >= 3 else []

    frames = eventually(stored, seconds=60)
    return {
        "frame_id": [frame["frame_id"] for frame in frames],
        "letter_id": [letter["id"] for letter in eventually(letters, seconds=60)],
        "version": ["1", version],
        "review_id": [1, 2],
    }


def refused(settings: Settings) -> None:
    """A record that every consumer of frames refuses."""
    registry = SchemaRegistry(settings.registry)
    producer = make_producer(settings)
    frame = a_frame_record(camera_id=CAMERA, sha256="0" * 64)
    producer.produce("frames", key=CAMERA, value=Codec(registry).encode("frames", frame))
    assert producer.flush(30) == 0
    registry.close()


def a_version_that_the_gate_passed(settings: Settings, folder: Path) -> str:
    """It did not: the rows are written by hand, because judging takes minutes and is not what is tried here."""
    delivered = run_as(settings, "scientist", "model", "deliver", str(folder), "--json")
    assert delivered.code == 0, delivered.err
    version = str(delivered.answer["version"])
    with open_connection(settings.postgres, autocommit=True) as connection:
        for passed, champion, model in ((version, "1", WEAKER), ("1", version, DEMO)):
            verdict = Verdict(
                model=settings.mlflow.model_name,
                version=passed,
                model_digest=sha256((model / "model.onnx").read_bytes()).hexdigest(),
                champion_version=champion,
                verdict="pass",
                reasons=("written by hand",),
                figures={},
                dataset_digest="0" * 64,
                gate_digest=gate_file(settings).digest,
            )
            gate_verdicts.save(connection, verdict)
    return version


def test_the_description_has_every_route(schema: Any) -> None:
    described = {(operation.method.upper(), operation.path) for operation in operations(schema)}
    assert described == {route for route in PERMISSIONS if route[1] not in UNDESCRIBED}


def test_every_answer_to_a_fitting_request_is_one_that_the_description_names(
    schema: Any, asker: Asker, known: dict[str, list[Any]]
) -> None:
    statuses = {
        (operation.method.upper(), operation.path): attempt(operation, asker, known, GenerationMode.POSITIVE)
        for operation in operations(schema)
    }
    never = {route for route, seen in statuses.items() if not any(200 <= status < 300 for status in seen)}
    assert never <= NEVER, statuses


# What a made-up request cannot do: a review that fits a frame, the rollback of a champion that was there before.
NEVER: set[tuple[str, str]] = {("POST", "/v1/reviews"), ("POST", "/v1/reviews/{review_id}/undo")}


def test_every_answer_to_a_wrong_request_is_one_that_the_description_names(
    schema: Any, asker: Asker, known: dict[str, list[Any]]
) -> None:
    wrong = [operation for operation in operations(schema) if operation.query or operation.body]
    assert len(wrong) >= 15
    for operation in wrong:
        statuses = attempt(operation, asker, known, GenerationMode.NEGATIVE)
        assert any(status >= 400 for status in statuses), operation.path


def test_the_service_is_well_afterwards(full_stack: Settings, asker: Asker) -> None:
    assert httpx.get(f"{full_stack.api.url}/readyz", trust_env=False).status_code == 200
    eventually(lambda: asker.get("/v1/pipeline")["is_well"], seconds=60)


def operations(schema: Any) -> list[Any]:
    return [result.ok() for result in schema.get_all_operations()]


def attempt(operation: Any, asker: Asker, known: dict[str, list[Any]], mode: GenerationMode) -> set[int]:
    """The statuses that were answered."""
    statuses: set[int] = set()
    known = known | {"ticket": [asker.ticket(known["frame_id"][0])]}  # good for a minute
    names = [parameter.name for parameter in operation.path_parameters]
    real = st.fixed_dictionaries({name: st.sampled_from(known[name]) for name in names})
    frame = st.none() | st.sampled_from(known["frame_id"])

    @hypothesis_settings(
        max_examples=SLOW_EXAMPLES if operation.path in SLOW else EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # a failure is told as it was found: making it smaller asks for minutes more
    )
    @given(case=operation.as_strategy(generation_mode=mode), there=st.none() | real, frame=frame)
    def each(case: Any, there: dict[str, Any] | None, frame: str | None) -> None:
        if there:
            case.path_parameters = case.path_parameters | there
        if frame and mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and "frame_id" in case.body:
            case.body["frame_id"] = frame
        answer = asker.ask(case)
        assert answer.status_code < 500 or is_asked_to_come_again(answer), answer.text
        case.validate_response(answer, checks=CONFORMANCE)
        statuses.add(answer.status_code)

    each()
    return statuses


def is_asked_to_come_again(answer: Any) -> bool:
    return answer.status_code == 503 and int(answer.headers["retry-after"][0]) > 0
