"""What every process that serves a model does alike: the stream worker, its shadow, the API.

ledger (Postgres) ─► who is champion ─► registry: files here ─► engine, warmed up ─► golden frames agree
                                                                   └─► swapped in between two batches, old one drained
                heartbeat every 2 s: instance, kind, model, version, state
"""
