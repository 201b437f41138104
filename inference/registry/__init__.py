"""The MLflow integration: which version is the champion, where its files are, and how the first one gets there.

model_version   a version and its files
tags            what MLflow says of a version, by name
resolve         alias ──► ModelVersion, its files in the local cache
bootstrap       the demo model becomes the first champion
"""
