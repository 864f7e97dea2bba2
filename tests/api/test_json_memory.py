"""Claims about what a JSON text takes once it is parsed: told beforehand, never too little, and enough for all rows."""

import json
import subprocess
import sys

import pytest

from app.api.json_memory import COUNTED_FROM_BYTES, MOST_BYTES, check_memory, memory_needed
from innerloop.errors import BodyTooLarge

MIB = 1024 * 1024
CAP = 64 * MIB
"""The largest body, by default."""

KINDS = {
    "empty lists": "[],",
    "empty objects": "{},",
    "lists of a list": "[[]],",
    "lists of an object": "[{}],",
    "lists of a number": "[999],",
    "lists of nine numbers": "[999,999,999,999,999,999,999,999,999],",
    "objects of a number": '{"":999},',
    "objects of a list": '{"":[]},',
    "objects of two numbers": '{"a":0,"b":999},',
    "short whole numbers": "0,",
    "whole numbers": "999,",
    "floats": "1e9,",
    "strings": '"ab",',
    "strings of two bytes a character": '"\u0100\u0101",',
    "names": '"%06x":999,',
}
MEASURE = """
import json, os, sys
import orjson
from app.api.json_memory import memory_needed

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024

def text_of(unit):
    if "%" in unit:
        return "{" + "".join(unit % i for i in range(200_000)) + '"":0}'
    return "[" + unit * (4_000_000 // len(unit)) + "0]"

found = {}
for kind, unit in json.loads(sys.argv[1]).items():
    reading, writing = os.pipe()
    if os.fork() == 0:
        text = text_of(unit).encode()
        open("/proc/self/clear_refs", "w").write("5")
        before = status("VmRSS")
        document = orjson.loads(text)
        os.write(writing, json.dumps([status("VmHWM") - before, memory_needed(text)]).encode())
        os._exit(0)
    os.wait()
    found[kind] = json.loads(os.read(reading, 1000))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[int, int]]:
    """What parsing took, and what it was said to take, by kind; each measured in a process of its own."""
    command = [sys.executable, "-c", MEASURE, json.dumps(KINDS)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout))


@pytest.mark.parametrize("kind", KINDS)
def test_parsing_takes_no_more_than_was_said(measured: dict[str, tuple[int, int]], kind: str) -> None:
    took, needed = measured[kind]
    assert took < needed + 8 * MIB  # pages that the process touches besides


LARGEST = {
    "ten thousand pictures of zeros and ones": lambda: pictures(10_000, "0.0", 28, 28),
    "a body of floats": lambda: filled('{"inputs":[%s]}', "[" + "-0.12345678," * 783 + "1.0],"),
    "a batch of ten thousand rows of a number each": lambda: filled("[%s]", "[-1.2345678],", 256 * 10_000),
    "sentences": lambda: filled(
        '{"inputs":[%s]}', '"' + 'Well, said he: \\"no [sic] {so}\\", and left. ' * 40 + '",', 11_000
    ),
    "pictures as files": lambda: filled('{"inputs":[%s]}', '"' + "iVBORw0KGgo" * 100 + '",'),
    "class names": lambda: filled('{"targets":[%s]}', '"a class",', 11_000 * 256),
}


def pictures(num: int, number: str, height: int, width: int) -> bytes:
    """Return pictures as nested lists, a channel each."""
    row = f"[{','.join([number] * width)}]"
    picture = f"[[{','.join([row] * height)}]]"
    return f'{{"task_id":"a","inputs":[{",".join([picture] * num)}]}}'.encode()


def filled(around: str, unit: str, num: int | None = None) -> bytes:
    """Return as many units as there are to be, or fit into the largest body."""
    return (around % (unit * (num or CAP // len(unit.encode()) - 1)).removesuffix(",")).encode()


@pytest.mark.parametrize("kind", LARGEST)
def test_the_largest_bodies_of_rows_within_the_limits_are_taken(kind: str) -> None:
    text = LARGEST[kind]()
    assert MIB < len(text) <= CAP
    check_memory(text, "the body")


@pytest.mark.parametrize("kind", KINDS)
def test_a_largest_body_of_nothing_but_short_values_is_refused(kind: str) -> None:
    unit = KINDS[kind].replace("%06x", "abcdef")
    text = filled("[%s]", unit)
    with pytest.raises(BodyTooLarge, match=f"at most {MOST_BYTES // MIB} MiB"):
        check_memory(text, "the body")


def test_the_refusal_says_what_was_counted() -> None:
    with pytest.raises(BodyTooLarge, match="the body holds 4000001 lists, 0 objects and 4000000 values after others"):
        check_memory(b"[" + b"[]," * 4_000_000 + b"0]", "the body")


def test_text_is_counted_as_its_bytes_are() -> None:
    text = "[" + '["\u00fc"],' * 3_500_000 + "0]"
    for form in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        with pytest.raises(BodyTooLarge, match="3500001 lists"):
            check_memory(form, "the body")


def test_where_larger_bodies_are_taken_more_may_be_in_them() -> None:
    number = b"0.12345678,"
    check_memory(b"[" + number * (3 * CAP // len(number)) + b"0]", "the body")


def test_short_texts_are_not_looked_at() -> None:
    text = b"[" + b"{}," * (COUNTED_FROM_BYTES // 3 - 1) + b"0]"
    assert memory_needed(text) < MOST_BYTES
    check_memory(text, "the body")
