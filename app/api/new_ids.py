"""Ids that are made here."""

import random
import secrets
import time

_drawn = random.Random(secrets.randbits(256))


def new_task_id() -> str:
    """Return an id of 32 hexadecimal digits, a UUID of version 7 (RFC 9562): the later it was made, the larger.

    Rows and index entries of new tasks then lie beside each other in the database. Wholly random ones would each change
    another page, more and more the longer the tables are. The bits that are not time are drawn from a generator that
    the system has seeded: asking the system each time lets go of the interpreter.
    """
    milliseconds = time.time_ns() // 1_000_000
    first, last = _drawn.getrandbits(12), _drawn.getrandbits(62)
    return f"{milliseconds:012x}7{first:03x}{1 << 63 | last:016x}"
