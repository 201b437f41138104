"""Is every acknowledged frame accounted for?

witness    sessions: the table, and what of the topic its sink has not written yet      read once
letters    dead letters and frame_conflicts, by frame                                   read every round
evidence   rows, their predictions, their objects, page by page                         read every round
judging    witness + letters + expirations + evidence ──► each sequence is exactly one thing   (pure)
verdicts   the values of all these
rounds     audit: once, or again until it closes
document   the report as JSON
"""

from inference.persistence.audit.document import as_document
from inference.persistence.audit.rounds import audit
from inference.persistence.audit.verdicts import Named, Report, SessionVerdict, Unreadable

__all__ = ["Named", "Report", "SessionVerdict", "Unreadable", "as_document", "audit"]
