"""Claims about pictures: lists, PNG and JPEG of any size and kind are one and the same drawing."""

import base64
import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.api.asking import adapt, close, predict, problem_of
from tests.api.drawings import (
    MODEL,
    as_list,
    drawing,
    in_base64,
    picture,
    png_of_depth,
    png_of_size,
    png_with_exif,
    rows_of,
    saved,
)
from tests.api.service import Service

NAMES = ["a", "b", "c", "d", "e"]
UPSIDE_DOWN, ORIENTATION, IMAGE_WIDTH, DESCRIPTION, RESOLUTION = 3, 0x0112, 0x0100, 0x010E, 0x011A
SHORT, ASCII, DOUBLE = 3, 2, 12
CHARACTERS = range(5)


def _with_alpha(image: Image.Image) -> Image.Image:
    """Return the ink alone, black on what is transparent (and black too, were it shown)."""
    layer = Image.new("LA", image.size, (0, 0))
    layer.putalpha(image.point([255 - level for level in range(256)]))
    return layer


def _coloured(image: Image.Image) -> Image.Image:
    ink, paper = Image.new("RGB", image.size, (20, 10, 60)), Image.new("RGB", image.size, (255, 250, 235))
    return Image.composite(paper, ink, image)


def _turned(image: Image.Image) -> bytes:
    """Return the file of a camera held upside down, which says so."""
    exif = Image.Exif()
    exif[ORIENTATION] = UPSIDE_DOWN
    return saved(image.rotate(180).convert("RGB"), "JPEG", exif=exif, quality=95)


FORMS: dict[str, Callable[[Image.Image], bytes]] = {
    "png": lambda image: saved(image, "PNG"),
    "png of 28": lambda image: saved(image.resize((28, 28), Image.Resampling.BOX), "PNG"),
    "png of 1 bit": lambda image: saved(image.convert("1"), "PNG"),
    "png of 16 bits": lambda image: saved(Image.fromarray(np.asarray(image).astype(np.uint16) * 257), "PNG"),
    "png of 2 bits": lambda image: png_of_depth(image, 2, 0),
    "png of 4 bits": lambda image: png_of_depth(image, 4, 0),
    "png of 16 bits a colour": lambda image: png_of_depth(image, 16, 2),
    "png of 16 bits with alpha": lambda image: png_of_depth(image, 16, 4),
    "png of 16 bits a colour with alpha": lambda image: png_of_depth(image, 16, 6),
    "png with a palette": lambda image: saved(image.convert("P"), "PNG"),
    "png in colour": lambda image: saved(_coloured(image), "PNG"),
    "png with alpha": lambda image: saved(_with_alpha(image), "PNG"),
    "png with colour and alpha": lambda image: saved(_with_alpha(image).convert("RGBA"), "PNG"),
    "png of 210": lambda image: saved(image.resize((210, 210)), "PNG"),
    "jpeg": lambda image: saved(image, "JPEG", quality=95),
    "jpeg in colour": lambda image: saved(_coloured(image), "JPEG", quality=90),
    "jpeg of 400": lambda image: saved(image.resize((400, 400)), "JPEG", quality=90),
    "jpeg, progressive": lambda image: saved(image, "JPEG", quality=95, progressive=True),
    "jpeg in cmyk": lambda image: saved(image.convert("RGB").convert("CMYK"), "JPEG", quality=95),
    "jpeg upside down by exif": _turned,
}


@pytest.fixture(scope="module")
def of_lists(service: Service) -> str:
    """A task that was adapted on lists."""
    return adapt(service.http, model=MODEL, support=rows_of(NAMES, [3] * 5)).task_id


@pytest.mark.parametrize("form", FORMS)
def test_a_drawing_gives_the_same_class_in_every_form(http: httpx.Client, of_lists: str, form: str) -> None:
    images = [picture(character, 7) for character in CHARACTERS]
    files = [in_base64(FORMS[form](image)) for image in images]
    expected = predict(http, task_id=of_lists, inputs=[as_list(image) for image in images])
    assert predict(http, task_id=of_lists, inputs=files).labels == expected.labels


def test_a_png_is_the_list_that_it_decodes_to(http: httpx.Client, of_lists: str) -> None:
    files = [in_base64(drawing(character, 8)) for character in CHARACTERS]
    lists = [as_list(picture(character, 8)) for character in CHARACTERS]
    one, other = (predict(http, task_id=of_lists, inputs=rows).probabilities for rows in (files, lists))
    assert close(one, other, within=1e-4)


def test_files_and_lists_may_be_mixed(http: httpx.Client, task_id: str, of_lists: str) -> None:
    rows = rows_of(NAMES, [3] * 5)
    mixed = [in_base64(drawing(i % 5, i // 5)) if i % 2 else row for i, row in enumerate(rows["inputs"])]
    adapt(http, task_id=task_id, model=MODEL, support={"inputs": mixed, "targets": rows["targets"]})
    query = [as_list(picture(0, 9)), in_base64(drawing(1, 9)), as_list(picture(2, 9))]
    one, other = (predict(http, task_id=name, inputs=query).probabilities for name in (task_id, of_lists))
    assert close(one, other, within=1e-3)


def test_transparent_is_white(http: httpx.Client, of_lists: str) -> None:
    nothing = saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG")
    one, other = (
        predict(http, task_id=of_lists, inputs=[row]).probabilities for row in (in_base64(nothing), [[[1.0] * 28] * 28])
    )
    assert close(one, other)


GOOD = drawing(0, 0)
ODD = {
    "no base64": ("not base64!", 422, "invalid-picture"),
    "base64 with line breaks": (base64.encodebytes(GOOD).decode(), 422, "invalid-picture"),
    "url-safe base64": (base64.urlsafe_b64encode(b"\xff\xfe" * 30).decode(), 422, "invalid-picture"),
    "letters that are not ASCII": ("é" * 40, 422, "invalid-picture"),
    "data url": ("data:image/png;base64," + in_base64(GOOD), 422, "invalid-picture"),
    "path": ("/etc/passwd", 422, "invalid-picture"),
    "empty string": ("", 422, "invalid-picture"),
    "text": (in_base64(b"this is no picture at all"), 422, "invalid-picture"),
    "svg": (in_base64(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 422, "invalid-picture"),
    "png of 3 bits": (in_base64(png_of_depth(picture(0, 0), 3, 0)), 422, "invalid-picture"),
    "png of 32 bits": (in_base64(png_of_depth(picture(0, 0), 32, 0)), 422, "invalid-picture"),
    "gif": (in_base64(saved(Image.new("L", (9, 9)), "GIF")), 422, "invalid-picture"),
    "bmp": (in_base64(saved(Image.new("L", (9, 9)), "BMP")), 422, "invalid-picture"),
    "truncated png": (in_base64(GOOD[: len(GOOD) * 2 // 3]), 422, "invalid-picture"),
    "png signature alone": (in_base64(GOOD[:8]), 422, "invalid-picture"),
    "truncated jpeg": (in_base64(saved(picture(0, 0), "JPEG")[:300]), 422, "invalid-picture"),
    "png renamed inside": (in_base64(GOOD.replace(b"IHDR", b"JHDR")), 422, "invalid-picture"),
    "a billion pixels": (in_base64(png_of_size(40_000, 25_000)), 413, "picture-too-large"),
    "most pixels that a header can say": (in_base64(png_of_size(2**31 - 1, 2**31 - 1)), 413, "picture-too-large"),
    "no pixels": (in_base64(png_of_size(0, 0)), 422, "invalid-picture"),
    "numbers over 1": ([[[255.0] * 28] * 28], 422, "invalid-picture"),
    "numbers under 0": ([[[-1.0] * 28] * 28], 422, "invalid-picture"),
    "no channel": ([[0.5] * 28] * 28, 422, "shape-mismatch"),
    "three channels": ([[[0.5] * 28] * 28] * 3, 422, "shape-mismatch"),
    "a row short": ([[[0.5] * 28] * 27], 422, "shape-mismatch"),
}


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("name", ODD)
def test_what_is_no_picture_is_refused_by_its_row(http: httpx.Client, of_lists: str, name: str) -> None:
    row, status, code = ODD[name]
    good = rows_of(NAMES, [1] * 5)
    response = http.post("/predict", json={"task_id": of_lists, "inputs": [*good["inputs"][:2], row]})
    assert "inputs[2]" in problem_of(response, status, code).detail
    support = {"inputs": [*good["inputs"][:4], row], "targets": good["targets"]}
    response = http.post("/adapt", json={"task_id": of_lists, "model": MODEL, "support": support})
    assert "support.inputs[4]" in problem_of(response, status, code).detail


@pytest.mark.parametrize(
    "entry",
    [(IMAGE_WIDTH, ASCII, b"abcd"), (DESCRIPTION, DOUBLE, b"\1\0\0\0"), (RESOLUTION, ASCII, b"abcd")],
    ids=["width as text", "description as number", "resolution as text"],
)
def test_odd_exif_entries_are_no_fault_of_the_service(
    http: httpx.Client, of_lists: str, entry: tuple[int, int, bytes]
) -> None:
    file = png_with_exif([(ORIENTATION, SHORT, b"\6\0\0\0"), entry])
    Image.open(io.BytesIO(file)).load()  # the picture itself is whole
    response = http.post("/predict", json={"task_id": of_lists, "inputs": [in_base64(file)]})
    assert response.status_code == 200 or problem_of(response, 422, "invalid-picture")


def test_pictures_are_not_taken_by_models_of_numbers(http: httpx.Client) -> None:
    support = {"inputs": [in_base64(GOOD), in_base64(GOOD)], "targets": [1.0, 2.0]}
    problem = problem_of(http.post("/adapt", json={"support": support}), 422, "invalid-request")
    assert "support.inputs[0]" in problem.detail
