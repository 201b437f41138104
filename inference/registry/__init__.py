"""The MLflow integration: which version is the champion, where its files are, and how others get there.

model_version   a version and its files
tags            what MLflow says of a version, by name
resolve         alias ──► ModelVersion, its files in the local cache
bootstrap       the demo model becomes the first champion
record          aliases and tags, read and written
promotion       the one way to another champion, and back
settling        its steps, and what becomes of one whose process died between two
catalogue       all versions with their metrics, for a page of them
"""
