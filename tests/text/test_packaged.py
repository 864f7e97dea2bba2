"""The packaged encoder gives the embeddings that the published data has, row by row."""

import pytest
import torch
from torch import Tensor

from app.text.packaged import MAX_PIECES, MINILM, PACKAGE_OF, SentenceEncoder, packaged_encoder
from app.trees import num_bytes
from innerloop.errors import TextNotAvailable
from tests.text.encoder_at_hand import needs_encoder, sentences

FLOAT16_ERROR = 1.3e-4
"""Half a step of float16 at 0.25, the largest numbers of these embeddings."""


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return packaged_encoder(MINILM)


@torch.no_grad()
def embedded(encoder: SentenceEncoder, texts: list[str], length: int | None = None) -> Tensor:
    """Return [R, D] of one batch, filled up to `length` pieces."""
    pieces = [encoder.pieces(text) for text in texts]
    tokens_RL = torch.zeros(len(texts), length or max(map(len, pieces)), dtype=torch.int64)
    is_token_RL = torch.zeros_like(tokens_RL, dtype=torch.bool)
    for i, row in enumerate(pieces):
        tokens_RL[i, : len(row)] = torch.tensor(row)
        is_token_RL[i, : len(row)] = True
    return encoder.embeddings(encoder.weights, tokens_RL, is_token_RL)


@needs_encoder
def test_embeddings_are_those_of_the_published_data(encoder: SentenceEncoder) -> None:
    known = sentences()
    found_RD = embedded(encoder, known.texts)
    assert found_RD.shape == (60, 384)
    assert torch.allclose(found_RD, torch.from_numpy(known.embeddings), rtol=0, atol=FLOAT16_ERROR)
    assert torch.allclose(found_RD.norm(dim=1), torch.ones(60), atol=1e-5)


@needs_encoder
def test_an_embedding_does_not_depend_on_its_neighbours_or_on_padding(encoder: SentenceEncoder) -> None:
    texts = ["what is my balance", "no", " ".join(["a very long sentence about nothing at all"] * 8)]
    together_RD = embedded(encoder, texts, length=100)
    for text, row_D in zip(texts, together_RD, strict=True):
        assert torch.allclose(embedded(encoder, [text])[0], row_D, rtol=0, atol=1e-5)


@needs_encoder
def test_what_comes_after_the_first_pieces_is_not_looked_at(encoder: SentenceEncoder) -> None:
    words = ["word"] * 400
    pieces = encoder.pieces(" ".join(words))
    assert len(pieces) == MAX_PIECES
    assert pieces == encoder.pieces(" ".join([*words, "another"]))
    assert pieces != encoder.pieces(" ".join(["another", *words]))


@needs_encoder
def test_letters_of_either_case_and_accents_are_one(encoder: SentenceEncoder) -> None:
    assert encoder.pieces("Où est le CAFÉ ?") == encoder.pieces("ou est le cafe?")
    assert 80e6 < num_bytes(encoder.weights) < 100e6


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGE_OF, MINILM, "no_such_package")
    with pytest.raises(TextNotAvailable, match=r"'all-MiniLM-L6-v2' is not installed .*make text"):
        packaged_encoder(MINILM)


def test_an_encoder_that_nobody_knows_is_not_available() -> None:
    with pytest.raises(TextNotAvailable, match="'of-a-later-release' is not installed"):
        packaged_encoder("of-a-later-release")
