"""Small services that this one is measured against; `python -m benchmarks.peers_http APP PORT` runs one."""
