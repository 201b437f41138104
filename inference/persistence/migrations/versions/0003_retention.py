"""What stays when the retention takes the rest.

    kept_frames ──────► frames that a person reviewed, moved here before their day goes; their objects stay
    kept_predictions ─► what was seen in them ──trigger──► kept_detections
    all_frames, all_predictions, all_detections     what is live and what was kept, as one

A frame is in its live table or in its kept one, never in both: it is moved in one statement, and a record of it that
comes again writes nothing. So the views need not look for doubles. Kept frames are evaluated, never scored again.

The columns are those of the live tables, in the same order; who adds one adds it to both and makes the views anew.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEPT_FRAMES = """
CREATE TABLE kept_frames (LIKE frames, PRIMARY KEY (frame_id));
CREATE INDEX kept_frames_by_camera ON kept_frames (camera_id, captured_at);
CREATE INDEX kept_frames_by_session ON kept_frames (session_id, sequence)
"""

KEPT_PREDICTIONS = """
CREATE TABLE kept_predictions (LIKE predictions, PRIMARY KEY (frame_id, model_name, model_version))
"""

# Written by the same rule as detections: from the prediction, so that the two cannot disagree.
KEPT_DETECTIONS = """
CREATE TABLE kept_detections (LIKE detections, PRIMARY KEY (frame_id, model_name, model_version, ordinal));
CREATE INDEX kept_detections_by_label ON kept_detections (label, confidence, captured_at);

CREATE FUNCTION write_kept_detections() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO kept_detections
    SELECT
        NEW.frame_id, NEW.model_name, NEW.model_version, box.ordinal - 1, NEW.camera_id, NEW.captured_at,
        box.label, box.confidence, NEW.boxes[4 * box.ordinal - 3], NEW.boxes[4 * box.ordinal - 2],
        NEW.boxes[4 * box.ordinal - 1], NEW.boxes[4 * box.ordinal]
    FROM unnest(NEW.labels, NEW.confidences) WITH ORDINALITY AS each (label, confidence, position)
    CROSS JOIN LATERAL (SELECT each.label, each.confidence, each.position::integer AS ordinal) AS box;
    RETURN NULL;
END
$$;
CREATE TRIGGER write_kept_detections AFTER INSERT ON kept_predictions
    FOR EACH ROW EXECUTE FUNCTION write_kept_detections()
"""

# A record that comes again, or a model that scores history again, would bring a kept frame back into the live tables.
STAY_KEPT = """
CREATE FUNCTION stay_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM kept_frames WHERE kept_frames.frame_id = NEW.frame_id) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER stay_kept BEFORE INSERT ON frames FOR EACH ROW EXECUTE FUNCTION stay_kept();
CREATE TRIGGER stay_kept BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION stay_kept()
"""

VIEWS = """
CREATE VIEW all_frames AS SELECT * FROM frames UNION ALL SELECT * FROM kept_frames;
CREATE VIEW all_predictions AS SELECT * FROM predictions UNION ALL SELECT * FROM kept_predictions;
CREATE VIEW all_detections AS SELECT * FROM detections UNION ALL SELECT * FROM kept_detections
"""

INDEXES = """
CREATE INDEX expirations_under_way ON expirations (camera_id, session_id) WHERE state = 'intended';
CREATE INDEX reviews_by_camera ON reviews (camera_id)
"""


def upgrade() -> None:
    """Creates every table, function, trigger and view above."""
    for statements in (KEPT_FRAMES, KEPT_PREDICTIONS, KEPT_DETECTIONS, STAY_KEPT, VIEWS, INDEXES):
        op.execute(statements)
