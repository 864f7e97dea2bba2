"""`python -m benchmarks.peers.peer NAME FILE THREADS`: one peer's process.

It prints the meta-gradient of the case in FILE, and then, for each line on its input, a number of calls, the
milliseconds that one of them took.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Answer until the input ends."""
    name, path, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints must not end up between the answers
        from benchmarks.peers.given import read_given

        _set_threads(name, threads)
        work = importlib.import_module(f"benchmarks.peers.with_{name}").meta_gradient(read_given(path))
        print(json.dumps([leaf.tolist() for leaf in work()]), file=answers, flush=True)
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(int(line)):
                work()
            print((time.perf_counter() - start) * 1e3 / int(line), file=answers, flush=True)


def _set_threads(name: str, threads: int) -> None:
    if name == "jax":  # it has a thread for each core that it may run on
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        return
    import torch

    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
