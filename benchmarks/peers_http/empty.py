"""Endpoints that read and validate a body and do nothing with it: what FastAPI and uvicorn leave for the work."""

from fastapi import FastAPI, Response

from benchmarks.peers_http.bodies import AdaptBody, PredictBody

app = FastAPI()


@app.post("/adapt")
async def adapt(body: AdaptBody) -> Response:
    """Answer what is always the same."""
    return Response(b'{"revision":1}', 201, media_type="application/json")


@app.post("/predict")
async def predict(body: PredictBody) -> Response:
    """Answer what is always the same."""
    return Response(b'{"outputs":[[0.5]]}', 200, media_type="application/json")
