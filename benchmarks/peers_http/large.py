"""Endpoints that take large bodies and do the least that can be done: read the bytes, or parse their numbers."""

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.post("/bytes")
async def read_bytes(request: Request) -> Response:
    """Read the body."""
    body = await request.body()
    return Response(b'{"bytes":%d}' % len(body), media_type="application/json")


@app.post("/numbers")
async def read_numbers(request: Request) -> Response:
    """Read the body, parse it, and put its numbers into an array."""
    inputs = np.asarray(orjson.loads(await request.body())["inputs"], dtype=np.float32)
    return Response(b'{"numbers":%d}' % inputs.size, media_type="application/json")
