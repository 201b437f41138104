"""Reviews over HTTP and below: claimed, saved once, taken back, read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient

from contracts.errors import Rejected
from contracts.identifiers import new_id
from inference.api.parts import Parts
from inference.domain.review import Purpose, Review, Verdict
from inference.domain.split import GATE, TRAIN, part_of
from inference.persistence import review_queue, reviews
from tests.support.rows import SESSION_ID, Row, a_prediction, a_session, now, upsert
from tests.support.stored_api import bearer

ANN = bearer("reviewer")
EVE = bearer("reviewer", who="eve")
Keep = Callable[..., Row]
BOX = {"label": "open", "box": [1.0, 2.0, 30.0, 40.0]}
_requests = count()


def sequences(part: str, wanted: int) -> list[int]:
    """Sequences of a part, one per block and then their neighbours."""
    blocks = [50 * n for n in range(400) if part_of("line-1", SESSION_ID, 50 * n) == part]
    return [block + shift for shift in range(50) for block in blocks][:wanted]


TRAIN_SEQUENCES = sequences(TRAIN, 20)
GATE_SEQUENCES = sequences(GATE, 20)


def claim(client: TestClient, headers: dict[str, str] = ANN, **asked: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/reviews/claim", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    frames: list[dict[str, Any]] = answer.json()["frames"]
    return frames


def save(client: TestClient, frame_id: str, headers: dict[str, str] = ANN, **given: Any) -> Any:
    body = {"frame_id": frame_id, "verdict": "corrected", "boxes": [BOX], "request_id": f"r{next(_requests)}"} | given
    return client.post("/v1/reviews", json=body, headers=headers)


def test_a_review_is_kept_with_who_when_and_what(client: TestClient, keep: Keep) -> None:
    frame = keep()
    answer = save(client, frame["frame_id"])
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert body["boxes"] == [{"label": "open", "confidence": None, "box": [1.0, 2.0, 30.0, 40.0]}]
    assert (body["reviewer"], body["reviewer_name"], body["camera_id"]) == ("ann", "ann the person", "line-1")
    assert client.get("/v1/reviews", headers=EVE).json()["reviews"] == [body]


def test_a_request_sent_again_changes_nothing_and_another_one_is_refused(
    client: TestClient, keep: Keep, connection: Any
) -> None:
    frame, other = keep(sequence=1), keep(sequence=2)
    first = save(client, frame["frame_id"], request_id="once", boxes=[BOX | {"box": [0.1, 0.2, 30.3, 40.4]}])
    again = save(client, frame["frame_id"], request_id="once", boxes=[BOX | {"box": [0.1, 0.2, 30.3, 40.4]}])
    assert (again.status_code, again.json()) == (201, first.json())
    assert connection.execute("SELECT count(*) FROM reviews").fetchone() == (1,)
    for changed in ({"boxes": [BOX]}, {"verdict": "empty", "boxes": []}, {"frame_id": other["frame_id"]}):
        answer = save(client, **({"frame_id": frame["frame_id"], "request_id": "once"} | changed))
        assert (answer.status_code, answer.json()["code"]) == (409, "request_id_reused")
    assert save(client, frame["frame_id"], headers=EVE, request_id="once").status_code == 201


@pytest.mark.parametrize(
    ("box", "status"),
    [
        ([30.0, 2.0, 30.0 + 1e-9, 40.0], 422),  # wide in 64 bits, empty in the column's 32
        ([0.0, 0.0, 1e-46, 40.0], 422),
        ([1e-46, 0.0, 30.0, 40.0], 201),  # too small for the column: it is nought there
    ],
)
def test_a_box_is_judged_as_it_will_be_stored(client: TestClient, keep: Keep, box: list[float], status: int) -> None:
    answer = save(client, keep()["frame_id"], boxes=[BOX | {"box": box}])
    assert answer.status_code == status, answer.text
    assert answer.json().get("code") == ("box_outside" if status == 422 else None)
    if status == 201:
        assert answer.json()["boxes"][0]["box"] == [0.0, 0.0, 30.0, 40.0]


def test_accepting_copies_the_boxes_of_the_version_that_was_seen(client: TestClient, keep: Keep) -> None:
    frame = keep()
    body = save(client, frame["frame_id"], verdict="accepted", boxes=[], model_version="1").json()
    assert [(box["label"], box["box"]) for box in body["boxes"]] == [
        ("open", [1.0, 2.0, 3.0, 4.0]),
        ("short", [5.0, 6.0, 7.0, 8.0]),
    ]
    answer = save(client, frame["frame_id"], verdict="accepted", boxes=[], model_version="2")
    assert (answer.status_code, answer.json()["code"]) == (422, "no_prediction")


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"boxes": [BOX | {"box": [1, 2, 65, 40]}]}, 422),
        ({"boxes": [BOX | {"label": "no such class"}]}, 422),
        ({"boxes": [BOX | {"label": "a\x00b"}]}, 422),
        ({"boxes": [BOX | {"box": [1, 2, 1e308, 40]}]}, 422),
        ({"boxes": [BOX | {"box": [1, 2, 3]}]}, 422),
        ({"boxes": []}, 422),
        ({"verdict": "perfect"}, 422),
        ({"request_id": ""}, 422),
        ({"request_id": "a\x00"}, 422),
        ({"model_version": "\x00"}, 422),
        ({"stranger": 1}, 422),
        ({"frame_id": "x"}, 422),
        ({"frame_id": new_id(now())}, 404),
    ],
)
def test_what_does_not_fit_is_refused(
    client: TestClient, keep: Keep, connection: Any, given: dict[str, Any], status: int
) -> None:
    answer = save(client, **({"frame_id": keep()["frame_id"]} | given))
    assert answer.status_code == status, answer.text
    assert connection.execute("SELECT count(*) FROM reviews").fetchone() == (0,)


def test_no_text_that_cannot_be_stored_breaks_it(client: TestClient, keep: Keep) -> None:
    frame_id = keep()["frame_id"]
    for body in (
        b'{"\\ud800": 1}',
        b'{"frame_id": "' + frame_id.encode() + b'", "verdict": "\\ud800", "request_id": "r"}',
        b'{"frame_id": "' + frame_id.encode() + b'", "verdict": "corrected", "request_id": "r", "boxes": '
        b'[{"label": "\\ud800", "box": [1, 2, 3, 4]}]}',
        b"[" * 5000,
        b"\xff",
    ):
        answer = client.post("/v1/reviews", content=body, headers=ANN | {"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, answer.text


def test_a_review_is_taken_back_by_who_made_it_or_an_administrator(
    client: TestClient, keep: Keep, connection: Any
) -> None:
    frame_id = keep()["frame_id"]
    mine = save(client, frame_id).json()["review_id"]
    undo = f"/v1/reviews/{mine}/undo"
    refused = client.post(undo, headers=EVE)
    assert (refused.status_code, refused.json()["code"]) == (403, "not_yours")
    first = client.post(undo, headers=ANN)
    assert (first.status_code, first.json()["undoes"], first.json()["verdict"]) == (200, mine, "undone")
    assert client.post(undo, headers=ANN).json() == first.json()
    assert (
        client.get(f"/v1/frames/{frame_id}", headers=bearer("viewer")).json()["reviews"][1]["undone_by"]
        == (first.json()["review_id"])
    )
    again = client.post(f"/v1/reviews/{first.json()['review_id']}/undo", headers=ANN)
    assert (again.status_code, again.json()["code"]) == (409, "is_undo")
    other = save(client, frame_id).json()["review_id"]
    assert client.post(f"/v1/reviews/{other}/undo", headers=bearer("reviewer", "admin", who="root")).status_code == 200
    assert client.post("/v1/reviews/999/undo", headers=ANN).status_code == 404
    assert client.post(f"/v1/reviews/{2**63}/undo", headers=ANN).status_code == 422
    assert connection.execute("SELECT count(*) FROM reviews").fetchone() == (4,)


def test_no_program_changes_a_review(client: TestClient, keep: Keep, connection: psycopg.Connection[Any]) -> None:
    save(client, keep()["frame_id"])
    with pytest.raises(psycopg.errors.RestrictViolation):
        connection.execute("UPDATE reviews SET verdict = 'empty'")


def test_reviews_are_listed_newest_first_by_page_and_by_filter(client: TestClient, keep: Keep) -> None:
    ids = [
        save(client, keep(sequence=n)["frame_id"], headers=EVE if n % 2 else ANN).json()["review_id"] for n in range(5)
    ]

    def listed(**query: Any) -> list[int]:
        answer = client.get("/v1/reviews", params=query, headers=ANN)
        assert answer.status_code == 200, answer.text
        return [review["review_id"] for review in answer.json()["reviews"]]

    assert listed() == ids[::-1]
    assert listed(mine=True) == [ids[4], ids[2], ids[0]]
    assert listed(reviewer="eve") == [ids[3], ids[1]]
    assert listed(verdict="empty") == []
    assert listed(purpose="queue", camera="line-1", until=(now() + timedelta(hours=1)).isoformat()) == ids[::-1]
    assert listed(since=(now() + timedelta(hours=1)).isoformat()) == []
    page = client.get("/v1/reviews", params={"limit": 2}, headers=ANN).json()
    assert listed(limit=5, cursor=page["next"]) == ids[2::-1]
    assert client.get("/v1/reviews", params={"cursor": "x"}, headers=ANN).status_code == 422


def test_a_claim_gives_the_most_useful_frame_and_the_same_one_again(client: TestClient, keep: Keep) -> None:
    sure = {"labels": ["open"], "confidences": [0.99], "boxes": [1.0, 2.0, 3.0, 4.0]}
    keep(sure, sequence=TRAIN_SEQUENCES[0])
    doubtful = keep(sure | {"confidences": [0.26]}, sequence=TRAIN_SEQUENCES[1])
    keep(sure, sequence=TRAIN_SEQUENCES[2])
    [claimed] = claim(client)
    assert claimed["frame_id"] == doubtful["frame_id"]
    assert claimed["predictions"][0]["boxes"][0]["label"] == "open"
    [again] = claim(client)
    assert again["frame_id"] == doubtful["frame_id"]
    assert again["expires_at"] > claimed["expires_at"]
    [others] = claim(client, EVE)
    assert others["frame_id"] != doubtful["frame_id"]


def test_disagreement_and_what_was_taken_back_come_before_doubt(
    client: TestClient, keep: Keep, connection: Any
) -> None:
    sure = {"labels": ["open"], "confidences": [0.99], "boxes": [1.0, 2.0, 3.0, 4.0]}
    keep(sure | {"confidences": [0.3]}, sequence=TRAIN_SEQUENCES[0])
    disputed = keep(sure, sequence=TRAIN_SEQUENCES[1])
    upsert(
        connection,
        "predictions",
        a_prediction(disputed["frame_id"], model_version="2", role="challenger", **(sure | {"labels": ["short"]})),
    )
    flagged = keep(sure, sequence=TRAIN_SEQUENCES[2], captured_at=now() - timedelta(days=30))
    review_id = save(client, flagged["frame_id"], headers=EVE).json()["review_id"]
    client.post(f"/v1/reviews/{review_id}/undo", headers=EVE)
    assert [frame["frame_id"] for frame in claim(client, count=2)] == [flagged["frame_id"], disputed["frame_id"]]


def test_a_reviewed_frame_is_not_claimed_again_and_the_next_one_follows(client: TestClient, keep: Keep) -> None:
    for sequence in TRAIN_SEQUENCES[:3]:
        keep(sequence=sequence)
    seen = []
    for _ in range(3):
        [frame] = claim(client)
        seen.append(frame["frame_id"])
        assert save(client, frame["frame_id"]).status_code == 201
    assert len(set(seen)) == 3
    assert claim(client) == []


def test_holding_several_tops_up_in_order(client: TestClient, keep: Keep) -> None:
    for sequence in TRAIN_SEQUENCES[:4]:
        keep(sequence=sequence)
    held = [frame["frame_id"] for frame in claim(client, count=3)]
    assert save(client, held[0]).status_code == 201
    after = [frame["frame_id"] for frame in claim(client, count=3)]
    assert after[:2] == held[1:]
    assert after[2] not in held


def test_a_claim_that_ran_out_goes_to_somebody_else(client: TestClient, keep: Keep, connection: Any) -> None:
    keep(sequence=TRAIN_SEQUENCES[0])
    [mine] = claim(client)
    assert claim(client, EVE) == []
    connection.execute("UPDATE review_claims SET expires_at = (now() AT TIME ZONE 'UTC') - interval '1 second'")
    [hers] = claim(client, EVE)
    assert hers["frame_id"] == mine["frame_id"]
    assert claim(client) == []


def test_the_queue_gives_no_frame_of_a_gate_block(client: TestClient, keep: Keep) -> None:
    keep(sequence=GATE_SEQUENCES[0])
    assert claim(client) == []
    assert claim(client, camera="line-1", purpose="queue") == []


def test_many_reviewers_at_once_never_hold_the_same_frame(keep: Keep, parts: Parts) -> None:
    for sequence in TRAIN_SEQUENCES[:12]:
        keep(sequence=sequence)
    held: list[str] = []
    barrier = threading.Barrier(6)

    def work(name: str) -> None:
        barrier.wait()
        with parts.database.connection() as connection:
            claims = review_queue.claim(
                connection, parts.settings.reviews, reviewer=name, purpose=Purpose.QUEUE, count=2,
                model="pcb-defects", random=Random(1),
            )  # fmt: skip
        held.extend(each.frame_id for each in claims)

    workers = [threading.Thread(target=work, args=(f"r{n}",)) for n in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(held) == 12
    assert max(Counter(held).values()) == 1


def gate_frames(keep: Keep, connection: Any, wanted: int) -> list[str]:
    upsert(connection, "sessions", a_session(last_acknowledged=max(GATE_SEQUENCES), captured=max(GATE_SEQUENCES) + 1))
    return [keep(sequence=sequence)["frame_id"] for sequence in GATE_SEQUENCES[:wanted]]


def test_a_gate_claim_is_an_empty_page_of_a_gate_block(client: TestClient, keep: Keep, connection: Any) -> None:
    ids = gate_frames(keep, connection, 3)
    keep(sequence=TRAIN_SEQUENCES[0])
    [frame] = claim(client, purpose="gate")
    assert frame["frame_id"] in ids
    assert (frame["part"], frame["predictions"]) == ("gate", None)
    assert claim(client, purpose="gate")[0]["frame_id"] == frame["frame_id"]


def test_the_gate_set_takes_claimed_frames_only(client: TestClient, keep: Keep, connection: Any) -> None:
    ids = gate_frames(keep, connection, 2)
    answer = save(client, ids[0], purpose="gate")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_claimed")
    [frame] = claim(client, purpose="gate")
    assert save(client, frame["frame_id"], purpose="gate", model_version="1").status_code == 422
    first = save(client, frame["frame_id"], purpose="gate", request_id="g1")
    assert first.status_code == 201, first.text
    assert save(client, frame["frame_id"], purpose="gate", request_id="g1").json() == first.json()
    [other] = claim(client, purpose="gate")
    assert other["frame_id"] != frame["frame_id"]


def test_who_saw_a_gate_frame_with_a_prediction_is_not_asked_about_it(
    client: TestClient, keep: Keep, connection: Any
) -> None:
    [frame_id] = gate_frames(keep, connection, 1)
    save(client, frame_id)
    assert claim(client, purpose="gate") == []
    assert [frame["frame_id"] for frame in claim(client, EVE, purpose="gate")] == [frame_id]


def test_gate_frames_are_drawn_at_random(keep: Keep, connection: Any, parts: Parts) -> None:
    ids = gate_frames(keep, connection, 5)
    drawn: Counter[str] = Counter()
    for seed in range(60):
        [claimed] = review_queue.claim(
            connection, parts.settings.reviews, reviewer="ann", purpose=Purpose.GATE, count=1,
            model="pcb-defects", random=Random(seed),
        )  # fmt: skip
        drawn[claimed.frame_id] += 1
        connection.execute("DELETE FROM review_claims")
    assert set(drawn) == set(ids)
    assert max(drawn.values()) < 30


def test_gate_frames_without_a_session_are_found_too(client: TestClient, keep: Keep) -> None:
    frame_id = keep(sequence=GATE_SEQUENCES[0])["frame_id"]
    assert [frame["frame_id"] for frame in claim(client, purpose="gate")] == [frame_id]


def test_a_seed_is_saved_through_the_same_function(keep: Keep, connection: Any) -> None:
    gate, train = keep(sequence=GATE_SEQUENCES[0])["frame_id"], keep(sequence=TRAIN_SEQUENCES[0])["frame_id"]
    seed = Review(
        frame_id=gate, reviewer="bootstrap", reviewer_name="bootstrap", verdict=Verdict.EMPTY, purpose=Purpose.GATE,
        request_id="seed-1",
    )  # fmt: skip
    assert reviews.save(connection, seed) == reviews.save(connection, seed)
    with pytest.raises(Rejected) as refused:
        reviews.save(
            connection,
            Review(**{name: getattr(seed, name) for name in seed.__slots__} | {"frame_id": train, "request_id": None}),
        )
    assert refused.value.code == "not_in_gate"


def test_only_reviewers_review(client: TestClient) -> None:
    for method, path in (("POST", "/v1/reviews/claim"), ("POST", "/v1/reviews"), ("GET", "/v1/reviews")):
        assert client.request(method, path, headers=bearer("viewer")).status_code == 403
