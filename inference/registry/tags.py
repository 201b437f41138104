"""What the tags of a model version are called in MLflow, and what `source` says of the versions that nobody chose."""

from __future__ import annotations

from typing import Final

DIGEST: Final = "digest"  # sha256 of model.onnx
SPEC_DIGEST: Final = "spec_digest"  # sha256 of model.json; versions of others may lack it
TRAINING_DIGEST: Final = "training_digest"  # of the images that it was trained on
LICENCE: Final = "licence"  # SPDX
SOURCE: Final = "source"  # who registered it
DUPLICATE_OF: Final = "duplicate_of"  # the earlier version with these very files: two deliveries of them at once
BOOTSTRAP: Final = "bootstrap"  # a source: the first start of an installation

# Written by a promotion, for readers of MLflow: the ledger is what counts.
PROMOTED: Final = "promoted"  # the ledger row's id
APPROVED_BY: Final = "approved_by"
APPROVED_AT: Final = "approved_at"
