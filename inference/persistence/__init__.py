"""Where results lie: Postgres and the object store, and the two commands that account for every frame.

schema     migrations and day partitions        database   one connection, errors translated
objects    the frames bucket                    pool       a few connections for many threads
frames     what the tables say about frames     cameras, sessions, statistics: about their senders and rates
reviews    what people said, append-only        review_queue: who looks at which frame
labels     what was said, as data sets          datasets   a versioned one, fetched as a folder
heartbeats which processes serve which model
outstanding the frames that a batch run has to do
agreement  how far two versions agreed, out of their stored predictions
watch_figures   what was seen of a champion since its promotion
contract_rows   rows in pieces, as their contract names them    drift_sample   a bounded sample of a day
review_requests frames that a job asks people to look at
expirations what the retention takes and keeps   old_frames, old_objects: what is old   erasure: all of one camera
copies     where else a camera's images lie
audit      is every acknowledged frame accounted for?
trace      one frame's whole life
ledger     who is champion, since when    gate_verdicts   what the gate said of a version
"""

from inference.persistence.database import connect
from inference.persistence.schema import ensure_partitions, migrate

__all__ = ["connect", "ensure_partitions", "migrate"]
