"""Bodies in safetensors, valid and not."""

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

MEDIA_TYPE = "application/vnd.safetensors"
X = np.array([[-1.2], [0.4]], dtype=np.float32)
Y = np.array([0.31, -0.8], dtype=np.float32)


def binary_body(tensors: dict[str, Any], **request: Any) -> bytes:
    """Return a body as a caller writes it, without a request where no field is named."""
    return save(tensors, {"request": json.dumps(request)} if request else None)


def adapt_body(**request: Any) -> bytes:
    """Return a body for /adapt of two rows."""
    return binary_body({"support.inputs": X, "support.targets": Y}, **request)


def read_answer(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of an answer, and the bytes of its tensors."""
    end = 8 + int.from_bytes(body[:8], "little")
    header = json.loads(body[8:end])
    fields: dict[str, Any] = json.loads(header["__metadata__"]["response"])
    return fields, body[end:]
