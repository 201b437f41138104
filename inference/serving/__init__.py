"""What every process that serves a model does alike: the stream worker, its shadow, the API, and batch jobs in part.

    ledger (Postgres) ─► who is champion ─► registry: files here ─► engine, warmed up ─► golden frames agree
                                                                       └─► swapped in between two batches, old one drained
                    heartbeat every 2 s: instance, kind, model, version, state

follow         the thread that watches, and the one that prepares the challenger
words          who is champion and who is challenger, as the ledger and MLflow say
decision       what to do about it, without doing it
loading        a version to a model that is ready: files, engine, golden frames, batch size
golden         does the engine see in the golden images what the export saw?
sweep          how long the engine takes for 1, 2, 4, 8 images at once
served_models  the models that are loaded, and who is using which
scoring        a batch of images to predictions
pulse          this process's heartbeat row
metrics        the same as Prometheus reads it
"""
