"""`python -m benchmarks.peers_http APP PORT`: one peer on uvicorn, one process, no access log, as the service."""

import importlib
import sys

import uvicorn

PEERS = {
    "empty": "benchmarks.peers_http.empty:app",
    "naive-def": "benchmarks.peers_http.naive:by_def",
    "naive-async": "benchmarks.peers_http.naive:by_async_def",
    "large": "benchmarks.peers_http.large:app",
}


def main(name: str, port: int) -> None:
    """Serve until a signal."""
    module, _, attribute = PEERS[name].partition(":")
    app = getattr(importlib.import_module(module), attribute)
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
