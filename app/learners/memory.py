"""An external memory that is read by content and written where it was least recently used (Santoro et al. 2016).

Axis letters beside those of `app.episode`: M slots, W numbers of a slot, H heads. `*R` are query rows, which read the
same memory, or nothing.

Differs from the paper: keys have at most length 1, cosines a learned sharpness and, in the norm of a slot, a floor,
since a slot with a trace of a key would otherwise look as much like it as one with all of it. Each head writes to a
slot of its own, the h-th least used, where the paper gives all of them to each (equation 6). Ties go to the first slot.
"""

import torch
from jaxtyping import Float
from torch import Tensor

USAGE_DECAY = 0.95
"""Gamma of equation 5: how much of a slot's use is left after another row."""
LEAST_NORM = 0.1
"""A tenth of a key: what is much shorter is like nothing, whatever its direction."""
TIE = 1e-4
"""Added to a slot's use times its index: slots that were never used are equally used but for rounding, which must not
choose, since it differs between a task alone and a task in a batch."""


def read(
    slots_MW: Float[Tensor, "M W"], keys_HW: Float[Tensor, "*R H W"], sharpness: Float[Tensor, ""]
) -> tuple[Float[Tensor, "*R H W"], Float[Tensor, "*R H M"]]:
    """Return what each head finds by its key, and the weights of the slots it is the mean of (equations 2 to 4)."""
    weights_HM = (sharpness * keys_HW @ unit(slots_MW).T).softmax(dim=-1)
    return weights_HM @ slots_MW, weights_HM


def write(
    slots_MW: Float[Tensor, "M W"],
    usage_M: Float[Tensor, "M"],
    keys_HW: Float[Tensor, "H W"],
    read_HM: Float[Tensor, "H M"],
    gates_H: Float[Tensor, "H"],
) -> tuple[Float[Tensor, "M W"], Float[Tensor, "M"]]:
    """Return slots and their use with each head's key added where it just read, or in its least used slot.

    Equations 5 to 8; `gates_H`, from 0 to 1, is the share of the former. The least used slots are emptied first.
    """
    slots = torch.arange(len(usage_M), device=usage_M.device)
    least_used_H = (usage_M + TIE * slots).topk(len(gates_H), largest=False).indices
    least_used_HM = (least_used_H[:, None] == slots).to(read_HM.dtype)
    write_HM = gates_H[:, None] * read_HM + (1.0 - gates_H[:, None]) * least_used_HM
    kept_MW = (1.0 - least_used_HM.sum(dim=0))[:, None] * slots_MW
    return kept_MW + write_HM.T @ keys_HW, USAGE_DECAY * usage_M + (read_HM + write_HM).sum(dim=0)


def unit(vectors: Float[Tensor, "*R W"]) -> Float[Tensor, "*R W"]:
    """Return vectors of length 1, but for those that are short against LEAST_NORM: smooth at 0, unlike a clamp."""
    return vectors / (vectors.square().sum(dim=-1, keepdim=True) + LEAST_NORM**2).sqrt()
