"""POST /v1/detections with every kind of image and body: the right answer, or a clear 4xx."""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import simplejpeg
from fastapi.testclient import TestClient

from contracts.settings import ApiSettings, S3Settings, Settings
from inference.api import app, parts
from tests.support.api_process import Believer, NoDatabase
from tests.support.images import huge_png, jpeg, png
from tests.support.running_api import DEMO_MODEL

MAX_BODY = 4_000_000
GOLDEN = (DEMO_MODEL / "golden/00.jpg").read_bytes()
OPERATOR = {"Authorization": "Bearer operator"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The application with the demo model, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "Verifier", lambda _settings: Believer())
        patch.setattr(parts, "Database", lambda _settings, **_: NoDatabase())
        settings = Settings(
            api=ApiSettings(model_folder=DEMO_MODEL, max_body_bytes=MAX_BODY, max_pixels=2_000_000, engine="openvino"),
            s3=S3Settings(secret_key="x"),
        )
        with TestClient(app.create_app(parts.make_parts(settings)), headers=OPERATOR) as running:
            deadline = time.monotonic() + 60
            while not running.get("/readyz").is_success:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield running


def encoded(kind: str, pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(kind, pixels)
    assert done
    return data.tobytes()


def board() -> np.ndarray:
    return simplejpeg.decode_jpeg(GOLDEN, colorspace="BGR")


def cmyk() -> bytes:
    """A JPEG whose frame says four components."""
    at = GOLDEN.index(b"\xff\xc0")
    return GOLDEN[: at + 9] + b"\x04" + GOLDEN[at + 10 :]


def with_orientation(image: bytes, orientation: int) -> bytes:
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0" + tiff
    return image[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + image[2:]


def animated_png() -> bytes:
    plain = png(64, 48)
    chunk = b"acTL" + struct.pack(">II", 2, 0)
    control = struct.pack(">I", 8) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return plain[:33] + control + plain[33:]


GIF = b"GIF89a" + struct.pack("<HH", 10, 10) + b"\0" * 40
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + b"\0" * 30

REFUSED = {
    "nothing": (b"", 422, "empty"),
    "one byte": (b"\xff", 422, "undecodable"),
    "text": (b"not an image at all", 422, "undecodable"),
    "json": (json.dumps({"image": "x"}).encode(), 422, "undecodable"),
    "a JPEG cut short": (GOLDEN[: len(GOLDEN) // 2], 422, "undecodable"),
    "a JPEG's head alone": (GOLDEN[:20], 422, "undecodable"),
    "a PNG cut short": (png()[:-20], 422, "undecodable"),
    "a damaged PNG": (png()[:60] + b"\0\0\0\0" + png()[64:], 422, "undecodable"),
    "a JPEG without size": (
        jpeg(8, 8).replace(struct.pack(">HH", 8, 8), struct.pack(">HH", 0, 8), 1),
        422,
        "undecodable",
    ),
    "CMYK": (cmyk(), 415, "unsupported_image"),
    "an animated GIF": (GIF, 415, "unsupported_image"),
    "WebP": (WEBP, 415, "unsupported_image"),
    "BMP": (encoded(".bmp", np.zeros((8, 8, 3), np.uint8)), 415, "unsupported_image"),
    "a decompression bomb": (huge_png(60_000, 60_000), 413, "too_large"),
    "too many bytes": (GOLDEN + b"\0" * MAX_BODY, 413, "body_too_large"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_bad_image_is_refused_with_its_reason(client: TestClient, kind: str):
    data, status, code = REFUSED[kind]
    answer = client.post("/v1/detections", content=data)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert (problem["status"], problem["type"]) == (status, f"urn:sightline:problem:{code}")


TAKEN = {
    "JPEG": GOLDEN,
    "PNG": encoded(".png", board()),
    "16-bit PNG": encoded(".png", board().astype(np.uint16) * 257),
    "grey JPEG": simplejpeg.encode_jpeg(np.ascontiguousarray(board()[..., :1]), colorspace="GRAY"),
    "PNG with transparency": encoded(".png", cv2.cvtColor(board(), cv2.COLOR_BGR2BGRA)),
    "progressive JPEG": cv2.imencode(".jpg", board(), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_a_board_in_any_kind_that_is_served_shows_its_defects(client: TestClient, kind: str):
    answer = client.post("/v1/detections", content=TAKEN[kind])
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["width"] == body["height"]
    assert body["model"]["role"] == "champion"
    assert set(body["timings"]) == {"queue", "decode", "infer", "total"}
    for found in body["detections"]:
        left, top, right, bottom = found["box"]
        assert 0 <= left < right <= body["width"]
        assert 0 <= top < bottom <= body["height"]
        assert 0 < found["confidence"] <= 1
    assert body["detections"], "the demo model sees the defects of its own golden frame"


def test_the_declared_type_does_not_matter_but_must_be_one_that_is_read(client: TestClient):
    for declared in ("image/png", "image/jpeg", "application/octet-stream", "Image/JPEG; q=1"):
        assert client.post("/v1/detections", content=GOLDEN, headers={"Content-Type": declared}).status_code == 200
    for declared in ("text/plain", "application/json", "image/webp", "application/x-www-form-urlencoded"):
        answer = client.post("/v1/detections", content=GOLDEN, headers={"Content-Type": declared})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_exif_orientation_is_ignored_so_that_boxes_fit_the_pixels_as_stored(client: TestClient):
    tall = jpeg(40, 80)
    plain, turned = (
        client.post("/v1/detections", content=data).json() for data in (GOLDEN, with_orientation(GOLDEN, 6))
    )
    assert turned["detections"] == plain["detections"]
    body = client.post("/v1/detections", content=with_orientation(tall, 6)).json()
    assert (body["width"], body["height"]) == (40, 80)


def test_of_an_animated_png_the_first_picture_counts(client: TestClient):
    assert client.post("/v1/detections", content=animated_png()).status_code == 200


def test_a_form_with_the_image_gets_the_same_answer(client: TestClient):
    plain = client.post("/v1/detections", content=GOLDEN).json()
    form = client.post("/v1/detections", files={"image": ("board.jpg", io.BytesIO(GOLDEN), "image/jpeg")}).json()
    assert form["detections"] == plain["detections"]


@pytest.mark.parametrize(
    ("body", "declared", "code"),
    [
        (
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "no_image",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            "no_image",
        ),
        (b"nothing of the kind", "multipart/form-data; boundary=x", "bad_form"),
        (b"--x\r\n", "multipart/form-data", "bad_form"),
        (b"", "multipart/form-data; boundary=x", "no_image"),
        (
            b'--x\r\nContent-Disposition: form-data; name="x-"\r\n\r\n' + 20_000 * b"a" + b"-99zz\r\n--x--\r\n",
            "multipart/form-data; boundary=x; charset=punycode",
            "bad_form",
        ),
        (b"--x--\r\n", "multipart/form-data; boundary=x; charset=undefined", "bad_form"),
        (
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n' + 5000 * b"a" + b"\r\n--x--\r\n",
            "multipart/form-data; boundary=x",
            "bad_form",
        ),
    ],
)
def test_a_form_that_does_not_fit_is_refused(client: TestClient, body: bytes, declared: str, code: str):
    answer = client.post("/v1/detections", content=body, headers={"Content-Type": declared})
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_an_annotated_image_is_a_jpeg_of_the_same_size(client: TestClient):
    answer = client.post("/v1/detections?annotated=true", content=GOLDEN)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-sightline-model-version"] == "0"
    assert simplejpeg.decode_jpeg(answer.content).shape == board().shape
    assert np.abs(simplejpeg.decode_jpeg(answer.content, colorspace="BGR").astype(int) - board()).max() > 60


def test_min_confidence_leaves_out_what_is_below_it(client: TestClient):
    everything = client.post("/v1/detections", content=GOLDEN).json()["detections"]
    least = sorted(found["confidence"] for found in everything)[len(everything) // 2]
    kept = client.post(f"/v1/detections?min_confidence={least}", content=GOLDEN).json()["detections"]
    assert 0 < len(kept) < len(everything)
    assert all(found["confidence"] >= least - 1e-4 for found in kept)


@pytest.mark.parametrize("query", ["min_confidence=2", "min_confidence=x", "min_confidence=nan", "annotated=perhaps"])
def test_a_query_that_does_not_fit_is_refused(client: TestClient, query: str):
    answer = client.post(f"/v1/detections?{query}", content=GOLDEN)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_version_that_is_not_loaded_is_named_with_those_that_are(client: TestClient):
    answer = client.post("/v1/detections?version=99", content=GOLDEN)
    assert (answer.status_code, answer.json()["code"]) == (404, "version_not_loaded")
    assert "champion 0" in answer.json()["detail"]
    assert client.post("/v1/detections?version=0", content=GOLDEN).status_code == 200
    assert client.post("/v1/detections?version=champion", content=GOLDEN).status_code == 200


def test_head_unknown_paths_and_wrong_methods_are_answered_properly(client: TestClient):
    assert client.head("/healthz").status_code == 200
    nowhere = client.get("/nowhere")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert nowhere.json()["detail"] == "there is no such route: GET /docs lists them"
    wrong = client.get("/v1/detections")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")
    assert wrong.json()["detail"] == "GET is not answered here: ask with POST"


def test_the_pages_need_no_internet(client: TestClient):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text, "an asset is fetched from elsewhere"
    assert client.get("/docs/assets/swagger-ui-bundle.js").headers["content-type"].startswith("text/javascript")
    assert len(client.get("/docs/assets/swagger-ui-bundle.js").content) > 500_000
    assert client.get("/docs/assets/..%2f__init__.py").status_code == 404
    assert client.get("/docs/oauth2-redirect").status_code == 200


def test_the_description_names_every_answer_and_where_to_log_in(client: TestClient):
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/detections"]["post"]
    assert set(operation["responses"]) == {"200", "400", "401", "403", "404", "408", "413", "415", "422", "500", "503"}
    for status, answer in operation["responses"].items():
        if status != "200":
            content = answer["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert content["example"]["status"] == int(status)
    assert operation["responses"]["503"]["headers"]["Retry-After"]
    flow = document["components"]["securitySchemes"]["keycloak"]["flows"]["authorizationCode"]
    assert flow["authorizationUrl"] == "http://127.0.0.1:19085/realms/sightline/protocol/openid-connect/auth"
    assert operation["security"] == [{"keycloak": []}, {"token": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_the_metrics_name_routes_and_no_ids(client: TestClient):
    client.get("/nowhere/12345")
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'sightline_api_requests_total{method="POST",route="/v1/detections",status="200"}' in page.text
    assert 'route="unmatched",status="404"' in page.text
    assert "12345" not in page.text
    assert "sightline_serving_model_info{" in page.text
