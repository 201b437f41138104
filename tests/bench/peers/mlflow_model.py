"""`mlflow models serve`: python -m tests.bench.peers.mlflow_model FOLDER saves the model that it serves.

Names of MLflow's that must be exact: load_context(self, context). The type hints of `predict` are the signature: with
them the input goes through neither pandas nor numpy, the quickest of MLflow's ways in.
"""

from __future__ import annotations

import base64
import sys
from threading import Lock

import mlflow
from mlflow.pyfunc import PythonModel

from tests.bench.peers.work import Work


class Detector(PythonModel):
    def load_context(self, context):
        self.work = Work()
        self.engine_free = Lock()  # MLflow calls from as many threads as there are requests; an engine takes one

    def predict(self, model_input: list[str]) -> list[dict]:
        images = [base64.b64decode(image) for image in model_input]
        with self.engine_free:
            return self.work.batch(images)


if __name__ == "__main__":
    mlflow.pyfunc.save_model(sys.argv[1], python_model=__file__, pip_requirements=[])
else:
    mlflow.models.set_model(Detector())
