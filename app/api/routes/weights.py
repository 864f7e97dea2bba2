"""How weights are answered: a safetensors file, with the hash of its bytes as its entity tag."""

from typing import Any

from fastapi import Response

MEDIA_TYPE = "application/vnd.safetensors"
SAFETENSORS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        "description": "A safetensors file",
    }
}
"""The description of such an answer, for routes."""


def weights_response(data: bytes, sha256: str, name: str) -> Response:
    """Return the answer that downloads `data` as `<name>.safetensors`."""
    headers = {"ETag": f'"{sha256}"', "Content-Disposition": f'attachment; filename="{name}.safetensors"'}
    return Response(data, media_type=MEDIA_TYPE, headers=headers)
