"""How much memory a JSON text takes once it is parsed, told from its bytes beforehand."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from innerloop.errors import BodyTooLarge

MIB = 1024 * 1024
COUNTED_FROM_BYTES = MIB
"""Shorter texts take 40 MiB at most, and are not looked at."""
MOST_BYTES, MOST_TIMES = 512 * MIB, 8
"""What a text may take, and how many times its own length where that is more: 512 MiB is ten thousand query rows of
28 x 28 numbers, or a body of 64 MiB whose numbers have seven characters each. What takes more is written so shortly
that no caller with rows within the limits needs it, or is better sent as safetensors."""

PEAK_BYTES = {"[": 100, "{": 200, ",": 60, ":": 120, '"': 40}
"""What a list, an object, a further value, a name and half a string take at the peak of parsing, by the character that
stands for each: measured with orjson 3.13 on CPython 3.11, and rounded up such that no mixture takes more."""
MOST_BYTES_A_CHARACTER = 20
"""Of a text without lists and objects: `"ab",` takes 19 a character."""
PIECE_BYTES = 128 * 1024
"""Characters that are compared at once, such that the outcome stays in the processor's cache."""
BIT_BETWEEN = ord("[") ^ ord("{")

Text = bytes | bytearray | memoryview | str
Bytes = npt.NDArray[np.uint8]


def check_memory(text: Text, what: str) -> None:
    """Raise BodyTooLarge for a JSON text that would take more memory than any request needs.

    Characters inside strings are counted as well: sentences take less than they are taken for.
    """
    if len(text) < COUNTED_FROM_BYTES:
        return
    data = _bytes(text)
    most = max(MOST_BYTES, MOST_TIMES * len(data))
    if PEAK_BYTES["{"] * _count_lists_and_objects(data) + MOST_BYTES_A_CHARACTER * len(data) <= most:
        return
    counts = _counts(data)
    needed = _needed(counts)
    if needed > most:
        raise BodyTooLarge(
            f"{what} holds {counts['[']} lists, {counts['{']} objects and {counts[',']} values after others, which "
            f"take up to {needed // MIB} MiB once parsed; at most {most // MIB} MiB are taken. Send fewer rows at a "
            "time, or arrays as safetensors"
        )


def memory_needed(text: Text) -> int:
    """Return about how many bytes a JSON text takes at most while it is parsed, its own left out."""
    return _needed(_counts(_bytes(text)))


def _bytes(text: Text) -> Bytes:
    return np.frombuffer(text.encode(errors="replace") if isinstance(text, str) else text, np.uint8)


def _counts(data: Bytes) -> dict[str, int]:
    return {character: _count(data, character) for character in PEAK_BYTES}


def _needed(counts: dict[str, int]) -> int:
    return sum(num * PEAK_BYTES[character] for character, num in counts.items())


def _count_lists_and_objects(data: Bytes) -> int:
    """Return how often `[` and `{` occur, which differ in one bit: one pass for most bodies that are looked at."""
    return sum(int(np.count_nonzero((piece | BIT_BETWEEN) == ord("{"))) for piece in _pieces(data))


def _count(data: Bytes, character: str) -> int:
    """Return how often a character occurs; comparing is several times as fast as `bytes.count`."""
    return sum(int(np.count_nonzero(piece == ord(character))) for piece in _pieces(data))


def _pieces(data: Bytes) -> Iterator[Bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
