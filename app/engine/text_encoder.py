"""Sentences turned into embeddings on the device: once for each content, and together with others of a length."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from app.engine.cache import ByteCache, CacheUse
from app.text.packaged import SentenceEncoder, packaged_encoder
from app.trees import to_device
from innerloop.errors import InvalidText

MAX_BATCH_PIECES = 512
"""Word pieces, padding included, of one turn on the device: 40 sentences of a dozen words, a quarter of a second on a
core. Other requests come in between, and larger batches are no faster."""
NUM_MARKS = 2
"""Pieces that every sentence has, an empty one too."""
ENTRY_BYTES = 256

OnDevice = Callable[[Callable[[], Tensor]], Tensor]
"""(work) -> what it gives, after its turn on the device's thread."""


class TextEncoder:
    """Keeps encoders on one device, loaded when the first sentence comes, and embeddings by content.

    An embedding does not depend on the sentences beside it beyond float32's own rounding (1e-6 of a unit length).
    """

    def __init__(
        self, device: torch.device, cache_bytes: int, load: Callable[[str], SentenceEncoder] = packaged_encoder
    ) -> None:
        self._device = device
        self._load = load
        self._encoders: dict[str, SentenceEncoder] = {}
        self._lock = threading.Lock()
        self._cache: ByteCache[Tensor] = ByteCache(cache_bytes, _entry_bytes)

    @property
    def cache_bytes(self) -> int:
        """The bytes of embeddings held now."""
        return self._cache.num_bytes

    @property
    def cache_use(self) -> CacheUse:
        """What is held of embeddings, and how often that helped."""
        return self._cache.use

    def embeddings(self, name: str, texts: Sequence[str], places: Sequence[str], on_device: OnDevice) -> Tensor:
        """Return [R, D] on the CPU, what the encoder `name` makes of each text; blocks.

        Raises TextNotAvailable, and InvalidText, with its entry of `places`, for a text without a word in it.
        """
        encoder = self._encoder(name)
        keys = [(name, _sha256(text, place)) for text, place in zip(texts, places, strict=True)]
        found: dict[Key, Tensor] = {}
        pieces: dict[Key, list[int]] = {}
        for key, text, place in zip(keys, texts, places, strict=True):
            if key in found or key in pieces:
                continue
            held_D = self._cache.held(key)
            if held_D is None:
                pieces[key] = _pieces(encoder, text, place)
            else:
                found[key] = held_D
        for batch in _batches(pieces):
            made_RD = on_device(partial(self._encode, encoder, [pieces[key] for key in batch]))
            for key, made_D in zip(batch, made_RD, strict=True):
                found[key] = made_D.clone()  # a row alone, so that the cache holds no other's bytes
                self._cache.put(key, found[key])
        return torch.stack([found[key] for key in keys])

    def _encoder(self, name: str) -> SentenceEncoder:
        with self._lock:
            if name not in self._encoders:
                loaded = self._load(name)
                self._encoders[name] = loaded._replace(weights=to_device(loaded.weights, self._device))
            return self._encoders[name]

    @torch.no_grad()
    def _encode(self, encoder: SentenceEncoder, pieces: Sequence[Sequence[int]]) -> Tensor:
        tokens_RL = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in pieces], batch_first=True)
        lengths_R1 = torch.tensor([[len(row)] for row in pieces])
        is_token_RL = torch.arange(tokens_RL.shape[1]) < lengths_R1
        return encoder.embeddings(encoder.weights, tokens_RL.to(self._device), is_token_RL.to(self._device)).cpu()


Key = tuple[str, bytes]


def _sha256(text: str, where: str) -> bytes:
    try:
        return hashlib.sha256(text.encode("utf-8")).digest()
    except UnicodeEncodeError as error:
        raise InvalidText(f"{where} holds half of a character, which is no text in UTF-8") from error


def _pieces(encoder: SentenceEncoder, text: str, where: str) -> list[int]:
    pieces = encoder.pieces(text)
    if len(pieces) <= NUM_MARKS:
        raise InvalidText(f"{where} has no words; leave the row out, or send a sentence")
    return pieces


def _batches(pieces: dict[Key, list[int]]) -> Iterator[list[Key]]:
    """Give the keys by length, so that little is padding, in batches of at most MAX_BATCH_PIECES."""
    batch: list[Key] = []
    for key in sorted(pieces, key=lambda key: (len(pieces[key]), key)):
        if batch and (len(batch) + 1) * len(pieces[key]) > MAX_BATCH_PIECES:
            yield batch
            batch = []
        batch.append(key)
    if batch:
        yield batch


def _entry_bytes(embedding_D: Tensor) -> int:
    return embedding_D.numel() * embedding_D.element_size() + ENTRY_BYTES
