"""Stream inference: the champion looks at every frame as it comes; beside it, in the shadow, the challenger.

    poll ─► intake ─► micro-batch ─► engine ─► outbox ─► confirmed ─► offsets
    (main)  (thread, pool)           (thread)            (main)       (main)

worker       polls, bounds what is in flight, rebalances, commits
in_flight    what was read and is not yet finished; the offset up to which everything is
intake       bytes to records to pixels, bad ones to the dead letters
ready        decoded frames waiting for their batch
outbox       predictions and dead letters to their topics, confirmed
(serving)    which model serves, swapped between two batches; a batch to predictions: inference.serving
"""
