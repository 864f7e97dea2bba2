"""Build the requests that look after models."""

from innerloop import wire
from innerloop.calls.call import SAFETENSORS, Call, deletion, post, safetensors, segment


def models() -> Call[wire.Page[wire.ModelInfo]]:
    """Build `GET /models`."""
    return Call("GET", "/models", wire.Page[wire.ModelInfo].model_validate_json)


def model(name: str) -> Call[wire.ModelInfo]:
    """Build `GET /models/{name}`."""
    return Call("GET", f"/models/{segment(name)}", wire.ModelInfo.model_validate_json)


def set_authority(name: str, authority: wire.Authority) -> Call[wire.ModelInfo]:
    """Build `POST /models/{name}/authority`."""
    body = {"authority": authority}
    return post(f"/models/{segment(name)}/authority", body, wire.ModelInfo.model_validate_json)


def promote(name: str, version: int) -> Call[wire.ModelInfo]:
    """Build `POST /models/{name}/promote`."""
    return post(f"/models/{segment(name)}/promote", {"version": version}, wire.ModelInfo.model_validate_json)


def model_weights(name: str, version: int) -> Call[bytes]:
    """Build `GET /models/{name}/versions/{version}/weights`."""
    return Call("GET", f"{_version(name, version)}/weights", safetensors, headers={"Accept": SAFETENSORS})


def upload_model_version(name: str, data: bytes) -> Call[wire.ModelVersionInfo]:
    """Build `POST /models/{name}/versions`; not repeatable, because a second one makes a second version."""
    return Call(
        "POST",
        f"/models/{segment(name)}/versions",
        wire.ModelVersionInfo.model_validate_json,
        content=data,
        headers={"Content-Type": SAFETENSORS},
        repeatable=False,
    )


def delete_model_version(name: str, version: int) -> Call[None]:
    """Build `DELETE /models/{name}/versions/{version}`."""
    return deletion(_version(name, version))


def _version(name: str, version: int) -> str:
    return f"/models/{segment(name)}/versions/{int(version)}"
