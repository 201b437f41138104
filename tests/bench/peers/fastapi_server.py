"""FastAPI and nothing else: raw bytes in, JSON out, one thread for the engine. No token, no limit, no metric."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tests.bench.peers.work import Work

app = FastAPI()
work = Work()
thread = ThreadPoolExecutor(1)


@app.post("/predict")
async def predict(request: Request) -> JSONResponse:
    data = await request.body()
    return JSONResponse(await asyncio.get_running_loop().run_in_executor(thread, work, data))


@app.post("/predict-on-the-loop")
async def predict_on_the_loop(request: Request) -> JSONResponse:
    """For an engine that takes no time: what the framework alone costs."""
    return JSONResponse(work(await request.body()))


@app.get("/health")
async def health() -> JSONResponse:
    return JSONResponse({})
