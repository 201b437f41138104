"""MLServer: mlserver start FOLDER, where FOLDER holds what `write` put there. V2 protocol, the image as base64.

FOLDER/settings.json          the server: ports, no worker processes
FOLDER/model-settings.json    the model: this module's class
"""

from __future__ import annotations

import base64
import json

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput

from tests.bench.peers.work import Work


class Detector(MLModel):
    async def load(self) -> bool:
        self.work = Work()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        images = [base64.b64decode(data) for data in payload.inputs[0].data.root]
        answers = [json.dumps(answer) for answer in self.work.batch(images)]
        output = ResponseOutput(name="detections", datatype="BYTES", shape=[len(answers), 1], data=answers)
        return InferenceResponse(model_name=self.name, outputs=[output])
