"""The tables that the sinks write, and what keeps them right.

    frames ──────► one row per frame; first stored wins, the loser goes to frame_conflicts
    predictions ─► one row per frame and model version; the newer inferred_at stays ──trigger──► detections
    sessions ────► one row per camera process; only ever moves forward
    expirations    which sequences of a session the retention took

frames, predictions and detections are range-partitioned on frame_id, whose first 48 bits are the capture time, by UTC
day. Columns are the fields of contracts/avro; a test compares them. No CHECK stands on what a topic fills: a row that
the table refuses would stop the whole sink, so the validity rule is applied before it.

A trigger that returns NULL makes the upsert of a redelivered record write nothing at all.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UUID7_FLOOR = """
CREATE FUNCTION uuid7_floor(at timestamp) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (
    lpad(to_hex(least(greatest(floor(extract(epoch FROM at) * 1000), 0), 281474976710655)::bigint), 12, '0')
    || '00000000000000000000'
)::uuid
"""

FRAMES = """
CREATE TABLE frames (
    frame_id uuid NOT NULL,
    camera_id text NOT NULL,
    session_id uuid NOT NULL,
    sequence bigint NOT NULL,
    captured_at timestamp(6) NOT NULL,
    source_time timestamp(6),
    width integer NOT NULL,
    height integer NOT NULL,
    encoding text NOT NULL,
    size_bytes integer NOT NULL,
    sha256 text NOT NULL,
    object_key text NOT NULL,
    traceparent text,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    PRIMARY KEY (frame_id)
) PARTITION BY RANGE (frame_id);
CREATE TABLE frames_default PARTITION OF frames DEFAULT;
CREATE INDEX frames_by_camera ON frames (camera_id, captured_at);
CREATE INDEX frames_by_session ON frames (session_id, sequence)
"""

FRAME_CONFLICTS = """
CREATE TABLE frame_conflicts (
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    frame_id uuid NOT NULL,
    camera_id text NOT NULL,
    session_id uuid NOT NULL,
    sequence bigint NOT NULL,
    captured_at timestamp(6) NOT NULL,
    size_bytes integer NOT NULL,
    sha256 text NOT NULL,
    stored_sha256 text NOT NULL,
    noticed_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    PRIMARY KEY (kafka_partition, kafka_offset, frame_id)
);
CREATE INDEX frame_conflicts_by_frame ON frame_conflicts (frame_id);
CREATE INDEX frame_conflicts_by_session ON frame_conflicts (session_id, sequence);

CREATE FUNCTION keep_first_frame() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.sha256, NEW.camera_id, NEW.session_id, NEW.sequence)
        IS DISTINCT FROM (OLD.sha256, OLD.camera_id, OLD.session_id, OLD.sequence)
    THEN
        INSERT INTO frame_conflicts (
            kafka_partition, kafka_offset, frame_id, camera_id, session_id, sequence, captured_at, size_bytes, sha256,
            stored_sha256
        ) VALUES (
            NEW.kafka_partition, NEW.kafka_offset, NEW.frame_id, NEW.camera_id, NEW.session_id, NEW.sequence,
            NEW.captured_at, NEW.size_bytes, NEW.sha256, OLD.sha256
        ) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_first_frame BEFORE UPDATE ON frames FOR EACH ROW EXECUTE FUNCTION keep_first_frame()
"""

PREDICTIONS = """
CREATE TABLE predictions (
    frame_id uuid NOT NULL,
    camera_id text NOT NULL,
    captured_at timestamp(6) NOT NULL,
    model_name text NOT NULL,
    model_version text NOT NULL,
    model_digest text NOT NULL,
    role text NOT NULL,
    run_id text,
    engine text NOT NULL,
    inferred_at timestamp(6) NOT NULL,
    latency_ms real NOT NULL,
    status text NOT NULL,
    labels text[] NOT NULL,
    confidences real[] NOT NULL,
    boxes real[] NOT NULL,
    traceparent text,
    PRIMARY KEY (frame_id, model_name, model_version)
) PARTITION BY RANGE (frame_id);
CREATE TABLE predictions_default PARTITION OF predictions DEFAULT;

CREATE FUNCTION keep_newer_prediction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.inferred_at > OLD.inferred_at THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_newer_prediction BEFORE UPDATE ON predictions
    FOR EACH ROW EXECUTE FUNCTION keep_newer_prediction()
"""

# The sinks insert row by row, so a row trigger is the cheap one. The deletion's trigger is one per statement: it does
# not fire for statements on a partition, which is how ensure_partitions moves rows without touching their detections.
DETECTIONS = """
CREATE TABLE detections (
    frame_id uuid NOT NULL,
    model_name text NOT NULL,
    model_version text NOT NULL,
    ordinal integer NOT NULL,
    camera_id text NOT NULL,
    captured_at timestamp(6) NOT NULL,
    label text NOT NULL,
    confidence real NOT NULL,
    x1 real NOT NULL,
    y1 real NOT NULL,
    x2 real NOT NULL,
    y2 real NOT NULL,
    PRIMARY KEY (frame_id, model_name, model_version, ordinal)
) PARTITION BY RANGE (frame_id);
CREATE TABLE detections_default PARTITION OF detections DEFAULT;
CREATE INDEX detections_by_label ON detections (label, confidence, captured_at);

CREATE FUNCTION write_detections() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM detections
        WHERE (frame_id, model_name, model_version) = (NEW.frame_id, NEW.model_name, NEW.model_version);
    END IF;
    IF cardinality(NEW.labels) > 0 THEN
        INSERT INTO detections
        SELECT
            NEW.frame_id, NEW.model_name, NEW.model_version, box.ordinal - 1, NEW.camera_id, NEW.captured_at,
            box.label, box.confidence, NEW.boxes[4 * box.ordinal - 3], NEW.boxes[4 * box.ordinal - 2],
            NEW.boxes[4 * box.ordinal - 1], NEW.boxes[4 * box.ordinal]
        FROM unnest(NEW.labels, NEW.confidences) WITH ORDINALITY AS each (label, confidence, position)
        CROSS JOIN LATERAL (SELECT each.label, each.confidence, each.position::integer AS ordinal) AS box;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER write_detections AFTER INSERT OR UPDATE ON predictions
    FOR EACH ROW EXECUTE FUNCTION write_detections();

CREATE FUNCTION delete_detections() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM detections USING deleted
    WHERE (detections.frame_id, detections.model_name, detections.model_version)
        = (deleted.frame_id, deleted.model_name, deleted.model_version);
    RETURN NULL;
END
$$;
CREATE TRIGGER delete_detections AFTER DELETE ON predictions
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION delete_detections()
"""

# Each field moves in one direction only, so the outcome does not depend on the order in which records arrive.
SESSIONS = """
CREATE TABLE sessions (
    session_id uuid NOT NULL,
    camera_id text NOT NULL,
    source text NOT NULL,
    started_at timestamp(6) NOT NULL,
    last_acknowledged bigint NOT NULL,
    captured bigint NOT NULL,
    rejected bigint NOT NULL,
    closed_at timestamp(6),
    updated_at timestamp(6) NOT NULL,
    PRIMARY KEY (session_id)
);
CREATE INDEX sessions_by_camera ON sessions (camera_id, started_at);
CREATE INDEX sessions_by_news ON sessions (updated_at);

CREATE FUNCTION keep_session_progress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.camera_id := OLD.camera_id;
    NEW.source := OLD.source;
    NEW.started_at := OLD.started_at;
    NEW.last_acknowledged := greatest(OLD.last_acknowledged, NEW.last_acknowledged);
    NEW.captured := greatest(OLD.captured, NEW.captured);
    NEW.rejected := greatest(OLD.rejected, NEW.rejected);
    NEW.closed_at := coalesce(OLD.closed_at, NEW.closed_at);
    NEW.updated_at := greatest(OLD.updated_at, NEW.updated_at);
    IF NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_session_progress BEFORE UPDATE ON sessions
    FOR EACH ROW EXECUTE FUNCTION keep_session_progress()
"""

EXPIRATIONS = """
CREATE TABLE expirations (
    expiration_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    camera_id text NOT NULL,
    session_id uuid NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('intended', 'done')),
    requested_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    done_at timestamp(6),
    CHECK (first_sequence BETWEEN 0 AND last_sequence),
    CHECK ((state = 'done') = (done_at IS NOT NULL))
);
CREATE INDEX expirations_by_session ON expirations (session_id, first_sequence)
"""

# Locks, all held for milliseconds and only when a day is missing: writers wait at the parent, so that none of them
# routes a row to the default partition while its day is attached; attaching excludes readers of the default partition.
# The timeout is below deadlock_timeout (1 s): in a knot with a reader this side gives up, and is called again.
ENSURE_PARTITIONS = """
CREATE FUNCTION ensure_partitions(retention interval DEFAULT '90 days', ahead interval DEFAULT '14 days')
RETURNS TABLE (partition text, action text)
LANGUAGE plpgsql
SET lock_timeout = '60s'
AS $$
DECLARE
    tables CONSTANT text[] := ARRAY['frames', 'predictions', 'detections'];
    today CONSTANT timestamp := date_trunc('day', now() AT TIME ZONE 'UTC');
    first_day CONSTANT timestamp := date_trunc('day', (now() AT TIME ZONE 'UTC') - retention);
    parent text;
    moved bigint;
    missing record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sightline.ensure_partitions'));
    FOR missing IN
        SELECT each.name AS parent, days.day, each.name || to_char(days.day, '_YYYYMMDD') AS child
        FROM unnest(tables) WITH ORDINALITY AS each (name, position)
        CROSS JOIN generate_series(first_day, today + ahead, interval '1 day') AS days (day)
        WHERE NOT EXISTS (
            SELECT FROM pg_inherits
            JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
            WHERE pg_inherits.inhparent = each.name::regclass
                AND pg_class.relname = each.name || to_char(days.day, '_YYYYMMDD')
        )
        ORDER BY each.position, days.day
    LOOP
        IF parent IS NULL THEN
            SET LOCAL lock_timeout = '900ms';
            LOCK TABLE frames, predictions, detections IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        parent := missing.parent;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES)', missing.child, parent);
        EXECUTE format(
            'WITH leaving AS (DELETE FROM %I WHERE frame_id >= $1 AND frame_id < $2 RETURNING *) '
            'INSERT INTO %I SELECT * FROM leaving',
            parent || '_default', missing.child
        ) USING uuid7_floor(missing.day), uuid7_floor(missing.day + interval '1 day');
        GET DIAGNOSTICS moved = ROW_COUNT;
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            parent, missing.child, uuid7_floor(missing.day), uuid7_floor(missing.day + interval '1 day')
        );
        partition := missing.child;
        action := CASE moved WHEN 0 THEN 'created' ELSE format('moved %s rows', moved) END;
        RETURN NEXT;
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Creates every table, function and trigger above."""
    for statements in (
        UUID7_FLOOR,
        FRAMES,
        FRAME_CONFLICTS,
        PREDICTIONS,
        DETECTIONS,
        SESSIONS,
        EXPIRATIONS,
        ENSURE_PARTITIONS,
    ):
        op.execute(statements)
