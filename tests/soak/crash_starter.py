"""Processes of the service that start in a moment: forks of one process that has imported all of it.

`python -m app serve` spends seconds on imports, which no fault meets. From the fork on a process is what that command
starts: settings from its environment, its log in a file, its own threads and children.
"""

import json
import os
import signal
import sys

from app.commands.serve import serve
from app.commands.worker import worker


def main() -> None:
    """Fork a process for each line of standard input, and write its id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to wait for those that end
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order["command"], order["environment"], order["log"])
        print(pid, flush=True)


def _become(command: str, environment: dict[str, str], log: str) -> None:
    """Be a process of the service, and never return."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.clear()
        os.environ.update(environment)
        if command == "serve":
            serve()
        else:
            worker(device=None)
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
