"""The MLflow integration: which version is the champion, where its files are, and how the first one gets there.

model_version   a version and its files
resolve         alias ──► ModelVersion, its files in the local cache
bootstrap       the demo model becomes the first champion
"""
