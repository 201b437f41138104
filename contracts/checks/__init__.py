"""The contracts for dataframes: pandera models of the topics' tables, and of a model's evaluation. The only place in
contracts with dataframes.

    rows ──dataframe("frames", rows)──► DataFrame ──Frames.validate(df, lazy=True)──► the same, or SchemaErrors

Columns and types are those of contracts/avro without `image`; the values obey contracts.validity as far as a row
without its image and its broker time can: the shared vectors are run through both. Types are never coerced.
"""

from contracts.checks.dataframes import dataframe
from contracts.checks.detections import Detections
from contracts.checks.evaluations import Evaluations, validated_evaluation
from contracts.checks.frames import Frames
from contracts.checks.predictions import Predictions
from contracts.checks.rows import Broken, broken_rows
from contracts.checks.sessions import Sessions

__all__ = [
    "Broken",
    "Detections",
    "Evaluations",
    "Frames",
    "Predictions",
    "Sessions",
    "broken_rows",
    "dataframe",
    "validated_evaluation",
]
