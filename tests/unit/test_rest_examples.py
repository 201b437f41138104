"""The examples of docs/rest-api.md are taken at their word: who asks, the address, the token, the image in the body.

`sightline` and `curl` stand aside on the PATH and write down how they were called; the shell is a real one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from contracts.settings import AuthSettings
from inference.api.app import create_app
from inference.api.metrics import Metrics
from inference.api.parts import Parts
from inference.api.tokens import Verifier
from tests.support.nowhere import NOWHERE
from tests.support.tokens import ISSUER, Realm

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rest-api.md"
SECRET = "the-cameras-secret"
ROLES = {"operator": "operator", "viewer": "viewer", "sightline-camera-demo": "camera"}
REALM = Realm()

SIGHTLINE = """
import json, os, sys
who, secret = os.environ.get("SIGHTLINE_LOGIN__SERVICE_ID"), os.environ.get("SIGHTLINE_LOGIN__SERVICE_SECRET")
if sys.argv[1:] == ["token"] and secret == "the-cameras-secret":
    print("token-of-" + who)
elif sys.argv[1:3] == ["token", "--user"]:
    print("token-of-" + sys.argv[3])
else:
    sys.exit(78)
"""
CURL = """
import json, sys
print(json.dumps(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """How the examples call curl."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / ".sightline").mkdir()
    (folder / ".sightline" / "logins.json").write_text(json.dumps({"accounts": {"sightline-camera-demo": SECRET}}))
    for name, program in (("sightline", SIGHTLINE), ("curl", CURL)):
        (folder / name).write_text(f"#!{sys.executable}\n{program}")
        (folder / name).chmod(0o755)
    (folder / "python3").symlink_to(sys.executable)
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE))
    shell = ["bash", "-euo", "pipefail", "-c", blocks]
    ended = subprocess.run(
        shell, cwd=folder, env={"PATH": f"{folder}:/usr/bin:/bin"}, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert SECRET not in ended.stdout
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def client() -> TestClient:
    """The doors alone: what passes fails behind them, for nothing is there."""
    nothing = cast("Any", None)
    tokens = Verifier(AuthSettings(issuer=ISSUER), fetch=REALM.jwks)
    made = {"settings": NOWHERE, "tokens": tokens, "metrics": Metrics()}
    others = {name: nothing for name in Parts.__dataclass_fields__ if name not in made}
    return TestClient(create_app(Parts(**cast("Any", made | others))), raise_server_exceptions=False)


def test_every_example_gets_past_the_door_with_options_that_the_route_has(
    calls: list[list[str]], client: TestClient
) -> None:
    asked = []
    for call in calls:
        address = urlsplit(call[-1])
        [who] = re.findall(r"Authorization: Bearer token-of-([a-z-]+)", " ".join(call))
        method = "POST" if {"--data-binary", "-F"} & set(call) else "GET"
        headers = {"Authorization": f"Bearer {REALM.token(roles=[ROLES[who]])}"}
        answer = client.request(method, f"{address.path}?{address.query}", headers=headers)
        assert answer.status_code not in {401, 403, 404, 405}, answer.text
        assert answer.json()["code"] != "invalid_request", answer.text
        asked.append((method, address.path, who))
    assert set(asked) == {
        ("POST", "/v1/detections", "operator"),
        ("POST", "/v1/frames", "sightline-camera-demo"),
        ("GET", "/v1/frames", "viewer"),
    }


def test_every_body_is_declared_as_what_is_served(calls: list[list[str]]) -> None:
    bodies = [call for call in calls if "@board.jpg" in call or "image=@board.jpg" in call]
    assert len(bodies) == 4
    assert all("-F" in call or "Content-Type: image/jpeg" in call for call in bodies)
