"""Frames that a job asks people to look at.

    report_drift ──► review_requests ──► the review queue shows them first, until a review of them stands

No foreign key points at frames, which is partitioned: a request whose frame has expired is found by nobody.
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

REVIEW_REQUESTS = """
CREATE TABLE review_requests (
    frame_id uuid PRIMARY KEY,
    camera_id text NOT NULL,
    requested_by text NOT NULL,
    reason text NOT NULL,
    requested_at timestamp(6) NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')
);
CREATE INDEX review_requests_by_camera ON review_requests (camera_id)
"""


def upgrade() -> None:
    """Creates the table."""
    op.execute(REVIEW_REQUESTS)
