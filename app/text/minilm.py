"""MiniLM: the word pieces of a sentence turned into its embedding, as a pure function of its weights."""

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from app.episode import Tree

NUM_LAYERS, NUM_HEADS = 6, 12
NORM_EPSILON = 1e-12
"""These three, and the numbers of an embedding, are of all-MiniLM-L6-v2's `config.json`."""


def embeddings(weights: Tree, tokens_RL: Int[Tensor, "R L"], is_token_RL: Bool[Tensor, "R L"]) -> Float[Tensor, "R D"]:
    """Return an embedding of unit length for each row of L word pieces, those that count in `is_token_RL`.

    A transformer with its norms behind each part (Vaswani et al. 2017; Devlin et al. 2019; Wang et al. 2020), and the
    mean over what counts (Reimers and Gurevych 2019, section 3). What does not count gets a share of exactly 0 of all
    attention, so that no row depends on how far it is filled up.
    """
    hidden_RLD = _of_pieces(weights, tokens_RL)
    for layer in range(NUM_LAYERS):
        name = f"encoder.layer.{layer}."
        seen_RLD = _dense(weights, name + "attention.output.dense", _attended(weights, name, hidden_RLD, is_token_RL))
        hidden_RLD = _norm(weights, name + "attention.output.LayerNorm", hidden_RLD + seen_RLD)
        wide_RLW = functional.gelu(_dense(weights, name + "intermediate.dense", hidden_RLD))
        hidden_RLD = _norm(
            weights, name + "output.LayerNorm", hidden_RLD + _dense(weights, name + "output.dense", wide_RLW)
        )
    counts_RL1 = is_token_RL.unsqueeze(2).to(hidden_RLD.dtype)
    return functional.normalize((hidden_RLD * counts_RL1).sum(dim=1) / counts_RL1.sum(dim=1), dim=1)


def _of_pieces(weights: Tree, tokens_RL: Tensor) -> Tensor:
    """Return what a piece is and where it stands; all are of the one kind of text that there is, 0."""
    words_RLD = functional.embedding(tokens_RL, weights["embeddings.word_embeddings.weight"])
    places_LD = weights["embeddings.position_embeddings.weight"][: tokens_RL.shape[1]]
    kind_D = weights["embeddings.token_type_embeddings.weight"][0]
    return _norm(weights, "embeddings.LayerNorm", words_RLD + places_LD + kind_D)


def _attended(weights: Tree, name: str, hidden_RLD: Tensor, is_token_RL: Tensor) -> Tensor:
    """Return scaled dot-product attention over the row's own pieces, its heads side by side."""

    def heads(part: str) -> Tensor:
        rows_RLD = _dense(weights, f"{name}attention.self.{part}", hidden_RLD)
        return rows_RLD.view(*rows_RLD.shape[:2], NUM_HEADS, -1).transpose(1, 2)

    mask_R11L = is_token_RL[:, None, None, :]
    seen_RHLd = functional.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"), mask_R11L)
    return seen_RHLd.transpose(1, 2).flatten(2)


def _dense(weights: Tree, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])


def _norm(weights: Tree, name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[name + ".weight"], weights[name + ".bias"], NORM_EPSILON)
