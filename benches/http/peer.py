"""The peer in Python: FastAPI, uvicorn and NumPy, as fast as they can be had.

The endpoint is asynchronous, since handing a request to a thread would double its cost, and reads
the body itself, since orjson reads faster than a declared model does. `/declared` is the same
service as FastAPI's documentation would write it; it is measured too, for comparison.
"""

import io

import numpy as np
import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import BaseModel

app = FastAPI(openapi_url=None)


@app.post("/v1/multiply")
async def multiply(request: Request) -> Response:
    body = await request.body()
    try:
        if request.headers["content-type"] == "application/x-npy":
            file = io.BytesIO(body)
            a, b = np.load(file), np.load(file)
            reply = io.BytesIO()
            np.save(reply, a @ b)
            return Response(reply.getvalue(), media_type="application/x-npy")
        job = orjson.loads(body)
        c = np.array(job["a"], dtype=np.float64) @ np.array(job["b"], dtype=np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise HTTPException(422, str(error))
    text = orjson.dumps({"c": c}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, media_type="application/json")


class Job(BaseModel):
    a: list[list[float]]
    b: list[list[float]]


@app.post("/declared")
async def multiply_declared(job: Job):
    return {"c": (np.array(job.a) @ np.array(job.b)).tolist()}
