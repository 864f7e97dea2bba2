"""The encoder of sentences, where it is installed (`make test` installs it), and sentences with known embeddings."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from app.text.packaged import MINILM, PACKAGE_OF
from tests.datasets.uploads import DATA

needs_encoder = pytest.mark.skipif(
    find_spec(PACKAGE_OF[MINILM]) is None or find_spec("tokenizers") is None, reason="make text installs the encoder"
)


class Sentences(NamedTuple):
    texts: list[str]
    intents: list[str]
    embeddings: npt.NDArray[np.float32]
    """As they were published, in float16."""


def sentences() -> Sentences:
    with np.load(DATA / "clinc150_excerpt.npz", allow_pickle=False) as file:
        return Sentences(file["texts"].tolist(), file["intents"].tolist(), file["embeddings"].astype(np.float32))
