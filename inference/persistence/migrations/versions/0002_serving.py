"""Who is champion, who serves it, what people said of frames.

    promotions ──► the ledger: who is champion, since when, approved by whom; the alias in MLflow follows it
    gate_verdicts  what the platform's own evaluation said of a version against the champion of that time
    serving ─────► heartbeats: a row per process that serves a model
    reviews ─────► append-only: what a person saw in a frame; the newest one that nobody took back counts
    standing_reviews  the reviews that nobody took back
    review_claims  who works on which frame, until when
    part_of ─────► train or gate, the same for ever

Times are UTC in `timestamp` without zone, as everywhere. No foreign key points at a partitioned table.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# approved_by: a person's subject in Keycloak, or `bootstrap`; approved_by_name: for people to read, where it differs.
# At most one promotion is under way for a model: the partial unique index holds even if the advisory lock is forgotten.
PROMOTIONS = """
CREATE TABLE promotions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    alias text NOT NULL,
    version text NOT NULL,
    previous_version text,
    state text NOT NULL CHECK (state IN ('intended', 'done', 'reverted')),
    requested_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    done_at timestamp(6),
    approved_by text NOT NULL,
    approved_by_name text,
    reason text NOT NULL,
    CHECK ((state = 'intended') = (done_at IS NULL))
);
CREATE UNIQUE INDEX promotions_one_under_way ON promotions (model, alias) WHERE state = 'intended';
CREATE INDEX promotions_newest ON promotions (model, alias, id DESC) WHERE state = 'done'
"""

GATE_VERDICTS = """
CREATE TABLE gate_verdicts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    version text NOT NULL,
    model_digest text NOT NULL,
    champion_version text,
    verdict text NOT NULL CHECK (verdict IN ('pass', 'hold', 'refused')),
    reasons text[] NOT NULL,
    figures jsonb NOT NULL,
    dataset_digest text NOT NULL,
    gate_digest text NOT NULL,
    run_id text,
    decided_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
CREATE INDEX gate_verdicts_by_version ON gate_verdicts (model, version, id DESC)
"""

# `version` is empty while a process serves none; `reason` says why it does not serve, or has not warmed, what it should.
SERVING = """
CREATE TABLE serving (
    instance text PRIMARY KEY,
    kind text NOT NULL,
    model text NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    warmed_version text,
    engine text NOT NULL,
    reason text,
    started_at timestamp(6) NOT NULL,
    updated_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
CREATE INDEX serving_by_news ON serving (updated_at)
"""

# boxes: 4 per label, x1 y1 x2 y2 in pixels of the original image, as in predictions. `undoes` names the review that this
# row takes back; such a row has no labels of its own.
REVIEWS = """
CREATE TABLE reviews (
    review_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    frame_id uuid NOT NULL,
    camera_id text NOT NULL,
    reviewer text NOT NULL,
    reviewer_name text NOT NULL,
    reviewed_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    verdict text NOT NULL,
    labels text[] NOT NULL,
    boxes real[] NOT NULL,
    model_version text,
    purpose text NOT NULL,
    undoes bigint REFERENCES reviews (review_id),
    request_id text,
    CHECK (cardinality(boxes) = 4 * cardinality(labels)),
    CHECK (undoes IS NULL OR cardinality(labels) = 0)
);
CREATE UNIQUE INDEX reviews_undone_once ON reviews (undoes) WHERE undoes IS NOT NULL;
CREATE UNIQUE INDEX reviews_by_request ON reviews (reviewer, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX reviews_by_frame ON reviews (frame_id, review_id DESC);
CREATE INDEX reviews_by_reviewer ON reviews (reviewer, review_id DESC)
"""

REVIEW_CLAIMS = """
CREATE TABLE review_claims (
    frame_id uuid PRIMARY KEY,
    reviewer text NOT NULL,
    purpose text NOT NULL,
    claimed_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    expires_at timestamp(6) NOT NULL
);
CREATE INDEX review_claims_by_reviewer ON review_claims (reviewer, expires_at)
"""

# The same rule as inference/domain/split.py, for ever: what is labelled for training is never gated with.
PART_OF = """
CREATE FUNCTION part_of(camera text, session uuid, number bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    ('x' || encode(
        substr(sha256(convert_to(camera || '/' || session::text || '/' || (number / 50)::text, 'UTF8')), 1, 4), 'hex'
    ))::bit(32)::bigint % 5
    WHEN 0 THEN 'gate' ELSE 'train'
END
"""

# Of several that stand, the newest of a frame counts.
STANDING_REVIEWS = """
CREATE VIEW standing_reviews AS
SELECT said.* FROM reviews AS said
WHERE said.undoes IS NULL AND NOT EXISTS (SELECT FROM reviews AS taken WHERE taken.undoes = said.review_id)
"""

# What is never changed once it is there, whatever program asks: a review, and a ledger row that is done or reverted.
APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: write another row', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER reviews_stay BEFORE UPDATE ON reviews FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER promotions_stay BEFORE UPDATE ON promotions FOR EACH ROW
    WHEN (OLD.state <> 'intended') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER promotions_are_kept BEFORE DELETE ON promotions FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    """Creates every table, function and trigger above."""
    for statements in (
        PROMOTIONS,
        GATE_VERDICTS,
        SERVING,
        REVIEWS,
        REVIEW_CLAIMS,
        PART_OF,
        STANDING_REVIEWS,
        APPEND_ONLY,
    ):
        op.execute(statements)
