"""Sentences become embeddings once for each content, in batches of a bounded size, on the device's thread."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from app.engine.text_encoder import ENTRY_BYTES, MAX_BATCH_PIECES, TextEncoder
from app.text.packaged import SentenceEncoder
from innerloop.errors import InvalidText, TextNotAvailable

CPU = torch.device("cpu")
ROW_BYTES = 2 * 4 + ENTRY_BYTES
"""Of one of these embeddings in the cache."""


class Spelling:
    """An encoder of our own: a letter is a piece, and an embedding is the sum of the letters and their number."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.turns = 0
        self.loads = 0

    def load(self, name: str) -> SentenceEncoder:
        self.loads += 1
        if name != "spelling":
            raise TextNotAvailable(f"the encoder {name!r} is not installed")
        return SentenceEncoder(lambda text: [1, *map(ord, text.strip()), 2], {"w": torch.ones(1)}, self._embeddings)

    def _embeddings(self, weights: dict[str, Tensor], tokens_RL: Tensor, is_token_RL: Tensor) -> Tensor:
        self.shapes.append(tuple(tokens_RL.shape))
        sums_R = (tokens_RL * is_token_RL).sum(dim=1) * weights["w"]
        return torch.stack([sums_R, is_token_RL.sum(dim=1).float()], dim=1)

    def on_device(self, work: Callable[[], Tensor]) -> Tensor:
        self.turns += 1
        return work()

    def embedded(self, encoder: TextEncoder, *texts: str) -> list[list[float]]:
        places = [f"inputs[{i}]" for i in range(len(texts))]
        found: list[list[float]] = encoder.embeddings("spelling", texts, places, self.on_device).tolist()
        return found


@pytest.fixture
def spelling() -> Spelling:
    return Spelling()


@pytest.fixture
def encoder(spelling: Spelling) -> TextEncoder:
    return TextEncoder(CPU, 10 * ROW_BYTES, spelling.load)


def of_letters(text: str) -> list[float]:
    return [3.0 + sum(map(ord, text)), 2.0 + len(text)]


def test_embeddings_come_in_the_order_of_the_texts(spelling: Spelling, encoder: TextEncoder) -> None:
    texts = ["what a day", "no", "yes", "a"]
    assert spelling.embedded(encoder, *texts) == [of_letters(text) for text in texts]
    assert spelling.shapes == [(4, 12)]


def test_a_content_is_encoded_once(spelling: Spelling, encoder: TextEncoder) -> None:
    first = spelling.embedded(encoder, "yes", "no", "yes")
    assert spelling.shapes == [(2, 5)]
    assert spelling.embedded(encoder, "no", "maybe", "yes") == [first[1], of_letters("maybe"), first[0]]
    assert spelling.shapes == [(2, 5), (1, 7)]
    assert spelling.embedded(encoder, "maybe") == [of_letters("maybe")]
    assert (spelling.turns, spelling.loads) == (2, 1)


def test_the_cache_is_bounded_and_the_answer_is_not(spelling: Spelling, encoder: TextEncoder) -> None:
    texts = [f"number {i}" for i in range(30)]
    assert spelling.embedded(encoder, *texts) == [of_letters(text) for text in texts]
    assert encoder.cache_bytes == 10 * ROW_BYTES


def test_without_a_cache_all_is_encoded_again(spelling: Spelling) -> None:
    encoder = TextEncoder(CPU, 0, spelling.load)
    assert spelling.embedded(encoder, "yes", "yes") == spelling.embedded(encoder, "yes", "yes")
    assert (spelling.shapes, encoder.cache_bytes) == ([(1, 5), (1, 5)], 0)


def test_turns_on_the_device_are_short_and_sentences_of_a_length_share_them(
    spelling: Spelling, encoder: TextEncoder
) -> None:
    texts = [letter * length for length in (1, 200, 30) for letter in "abcdefghij"]
    assert spelling.embedded(encoder, *texts) == [of_letters(text) for text in texts]
    assert all(rows * length <= MAX_BATCH_PIECES for rows, length in spelling.shapes)
    assert spelling.shapes == [(16, 32), (4, 32), *[(2, 202)] * 5]
    assert spelling.turns == len(spelling.shapes)


def test_a_sentence_longer_than_a_turn_has_one_of_its_own(spelling: Spelling, encoder: TextEncoder) -> None:
    spelling.embedded(encoder, "a" * 2 * MAX_BATCH_PIECES, "b")
    assert spelling.shapes == [(1, 3), (1, 2 * MAX_BATCH_PIECES + 2)]


@pytest.mark.parametrize(("text", "reason"), [(" ", "no words"), ("\ud800", "half of a character")])
def test_what_cannot_be_read_is_named_and_nothing_is_encoded(
    spelling: Spelling, encoder: TextEncoder, text: str, reason: str
) -> None:
    with pytest.raises(InvalidText, match=rf"inputs\[1\] .*{reason}"):
        spelling.embedded(encoder, "yes", text)
    assert spelling.turns == 0


def test_an_encoder_that_is_missing_is_told(encoder: TextEncoder, spelling: Spelling) -> None:
    with pytest.raises(TextNotAvailable):
        encoder.embeddings("other", ["yes"], ["inputs[0]"], spelling.on_device)
