"""A memory-augmented network: a recurrent controller over an external memory learns by reading the support once.

Santoro et al. 2016, section 3. One LSTM cell, written from linear maps, is shown the support rows one after another
and keeps what it wants in a memory that is written where it was least recently used (`memory`). Nothing of the
network moves: a task is the state after its last row. Axis letters beside those of `app.episode`: G gates (four a
number of the state), C numbers of the state, H heads, M slots, W numbers of a slot, K those of all keys. Differs:

- A row comes together with its label (in the paper, with that of the row before it), since support and query are
  apart here. So a key is written where its own row has just read; in the paper, where the row before it had, whose
  label the key then holds.
- Each query row is answered from the state after the support alone, without a label, and is not remembered: no answer
  depends on another's.
- The rows are shown in an order made from their content, so that the order in which they are sent changes nothing.
- What the controller sees of a row are the features of a network's body, whichever network that is.
"""

from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from app.episode import MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.gradient import CLASS_MASK
from app.learners.learner import Learner, Traits, judge_by, loss_after_adapting
from app.learners.losses import Loss, masked_mean
from app.learners.memory import read, unit, write
from app.learners.moving import HEAD_BIAS, HEAD_WEIGHT, masked, moving_leaves
from app.networks.initial import kaiming_uniform
from app.networks.network import Network, head
from app.trees import merge, prefixed, subtree

STATE = "state."
FROM_FEATURES, FROM_LABELS = "controller.features.weight", "controller.labels.weight"
FROM_STATE, GATE_BIAS = "controller.state.weight", "controller.bias"
LOG_SHARPNESS = "memory.log_sharpness"
START_SHARPNESS = 10.0
START_FORGET, START_WRITE, START_GAIN_OF_STATE = -1.0, -2.0, 0.1
"""Gates before meta-training, and the gain of what comes from the past: a key that tells of its own row, written to a
fresh slot, is what learning to remember starts from. With 0, 0 and 1 the loss on a toy of classes was 1.35 after 24
meta-steps, with these 1.31 (three seeds each; 1.39 is chance)."""


class MannOptions(BaseModel):
    """`{"kind": "mann", "hidden": 64, "slots": 32, "width": 32, "reads": 1}`.

    `hidden` numbers of the controller's state; `slots` rows of memory with `width` numbers each; `reads` heads, each
    of which reads and writes once a row.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: Literal["mann"] = "mann"
    hidden: Annotated[int, Field(ge=1, le=1024)] = 64
    slots: Annotated[int, Field(ge=1, le=1024)] = 32
    width: Annotated[int, Field(ge=1, le=1024)] = 32
    reads: Annotated[int, Field(ge=1, le=16)] = 1


class State(NamedTuple):
    """Where the controller and its memory are after the rows that were shown."""

    hidden: Tensor
    """[hidden]."""
    cell: Tensor
    """[hidden]."""
    found: Tensor
    """[reads * width]: what was last read."""
    slots: Tensor
    """[slots, width]."""
    usage: Tensor
    """[slots]; only writing needs it."""


def mann(options: MannOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose task parameters are a state and a memory; ValueError for more reads than slots."""
    if options.reads > options.slots:
        raise ValueError(f"reads ({options.reads}) must be at most slots ({options.slots}): each writes to its own")
    traits = Traits(loss.output_kind, takes_steps=False, steps=0, learning_rate=None, learned_rates=False)

    def init(generator: torch.Generator) -> MetaParams:
        body = moving_leaves("body", network.init(generator))
        return MetaParams(merge(body, initial_leaves(options, network, generator)), {})

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        leaves = merge(meta.fixed, meta.trained)
        features_SF = network.features(leaves, support.inputs)
        state = _shown(options, leaves, features_SF, support)
        kept = {name: leaf for name, leaf in state._asdict().items() if name != "usage"}
        outputs_SO = masked(_answers(leaves, kept, features_SF), support.class_mask)
        value = masked_mean(loss.rows(outputs_SO, support.targets), support.row_mask)
        classes = {CLASS_MASK: support.class_mask} if loss.output_kind == "classification" else {}
        return merge(prefixed(kept, STATE), classes), Trace(value[None])

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        leaves = merge(meta.fixed, meta.trained)
        outputs_QO = _answers(leaves, subtree(task_params, STATE), network.features(leaves, inputs_Q))
        return masked(outputs_QO, task_params[CLASS_MASK]) if CLASS_MASK in task_params else outputs_QO

    return Learner(traits, loss, init, adapt, predict, loss_after_adapting(adapt, predict, loss), judge_by(loss))


def initial_leaves(options: MannOptions, network: Network, generator: torch.Generator) -> Tree:
    """Return the first controller, its maps to the memory, and a head over what it holds and reads."""
    gates, found = 4 * options.hidden, options.reads * options.width
    gate_bias = torch.zeros(gates)
    gate_bias[options.hidden : 2 * options.hidden] = START_FORGET

    def linear(rows: int, columns: int, gain: float = 1.0) -> Tensor:
        return kaiming_uniform(generator, (rows, columns), gain)

    labels_GO, keys_KC = linear(gates, network.num_outputs), linear(found, options.hidden)
    return {
        FROM_FEATURES: linear(gates, network.num_features),
        FROM_LABELS: labels_GO,
        FROM_STATE: linear(gates, options.hidden + found, START_GAIN_OF_STATE),
        GATE_BIAS: gate_bias,
        "memory.keys.weight": keys_KC,
        "memory.keys.bias": torch.zeros(found),
        "memory.gates.weight": linear(options.reads, options.hidden),
        "memory.gates.bias": torch.full((options.reads,), START_WRITE),
        LOG_SHARPNESS: torch.tensor(START_SHARPNESS).log(),
        HEAD_WEIGHT: torch.cat([linear(network.num_outputs, options.hidden), _recall(labels_GO, keys_KC)], dim=1),
        HEAD_BIAS: torch.zeros(network.num_outputs),
    }


def _recall(labels_GO: Float[Tensor, "G O"], keys_KC: Float[Tensor, "K C"]) -> Float[Tensor, "O K"]:
    """Return how a head starts to read labels out of keys: along what a label adds to them, with rows of length 1.

    Started at random, the head and the controller must agree on a code first: a toy of classes was at a
    loss of 1.38 after 24 meta-steps so, and at 1.21 from this start (three seeds each; 1.39 is chance).
    """
    of_new_CO = labels_GO.chunk(4)[2]
    return functional.normalize((keys_KC @ of_new_CO).T, dim=1)


def content_order(support: Support) -> Tensor:
    """Return the order [S] in which rows are shown, which depends on what they hold alone; masked rows come last.

    They are sorted by the sum of what a row holds times the sines of 1, 2, 3 and so on: these are linearly independent
    over the rational numbers (Lindemann and Weierstrass), so that rows that differ do not tie; and the sum is one of
    doubles, so that what rounding a batch brings does not choose.
    """
    targets_SD = support.targets if support.targets.dim() == 2 else support.targets[:, None]
    content_SK = torch.cat([support.inputs.flatten(1).double(), targets_SD.double()], dim=1)
    sines_K = torch.arange(1, content_SK.shape[1] + 1, device=content_SK.device).double().sin()
    return torch.where(support.row_mask, (content_SK * sines_K).sum(dim=1), torch.inf).argsort(stable=True)


def _shown(options: MannOptions, leaves: Tree, features_SF: Float[Tensor, "S F"], support: Support) -> State:
    """Return the state after the rows that count, one after another; masked rows leave it as it is."""
    order_S = content_order(support)
    # What a row adds to the gates needs no state: one product for all rows.
    gates_SG = functional.linear(features_SF, leaves[FROM_FEATURES], leaves[GATE_BIAS])
    gates_SG = gates_SG + functional.linear(_labels(support, features_SF.dtype), leaves[FROM_LABELS])
    gates_SG, row_mask_S = gates_SG[order_S], support.row_mask[order_S]
    state = _start(options, features_SF)
    for s in range(len(order_S)):
        after = _after_row(options, leaves, state, gates_SG[s])
        state = State(*(torch.where(row_mask_S[s], *leaf) for leaf in zip(after, state, strict=True)))
    return state


def _labels(support: Support, dtype: torch.dtype) -> Float[Tensor, "S O"]:
    """Return what the controller is told of the rows' targets: numbers as they are, a class as a 1 in its column."""
    if not support.class_mask.shape[0]:
        return support.targets
    classes_N = torch.arange(support.class_mask.shape[0], device=support.targets.device)
    return (support.targets[:, None] == classes_N).to(dtype)


def _start(options: MannOptions, like: Tensor) -> State:
    """Return the state before the first row."""
    hidden, found = like.new_zeros(options.hidden), like.new_zeros(options.reads * options.width)
    slots, usage = like.new_zeros(options.slots, options.width), like.new_zeros(options.slots)
    return State(hidden, hidden, found, slots, usage)


def _after_row(options: MannOptions, leaves: Tree, state: State, gates_G: Float[Tensor, "G"]) -> State:
    """Return the state after one labelled row: the controller moves, reads, and writes."""
    hidden, cell = _controlled(leaves, state._asdict(), gates_G)
    keys_HW = _keys(leaves, state.slots, hidden)
    found_HW, read_HM = read(state.slots, keys_HW, leaves[LOG_SHARPNESS].exp())
    write_gates_H = functional.linear(hidden, leaves["memory.gates.weight"], leaves["memory.gates.bias"]).sigmoid()
    slots, usage = write(state.slots, state.usage, keys_HW, read_HM, write_gates_H)
    return State(hidden, cell, found_HW.flatten(), slots, usage)


def _answers(leaves: Tree, state: Tree, features_RF: Float[Tensor, "R F"]) -> Float[Tensor, "R O"]:
    """Return the outputs for rows without labels, each from the same state."""
    hidden_RC, _ = _controlled(leaves, state, functional.linear(features_RF, leaves[FROM_FEATURES], leaves[GATE_BIAS]))
    found, _ = read(state["slots"], _keys(leaves, state["slots"], hidden_RC), leaves[LOG_SHARPNESS].exp())
    return head(leaves, torch.cat([hidden_RC, found.flatten(-2)], dim=-1))


def _controlled(leaves: Tree, state: Tree, gates: Float[Tensor, "*R G"]) -> tuple[Tensor, Tensor]:
    """Return hidden state and cell of an LSTM (Hochreiter and Schmidhuber 1997, with forget gates) after a row."""
    past = torch.cat([state["hidden"], state["found"]])
    of_input, of_forget, of_new, of_output = (gates + functional.linear(past, leaves[FROM_STATE])).chunk(4, dim=-1)
    cell = of_forget.sigmoid() * state["cell"] + of_input.sigmoid() * of_new.tanh()
    return of_output.sigmoid() * cell.tanh(), cell


def _keys(leaves: Tree, slots_MW: Float[Tensor, "M W"], hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R H W"]:
    """Return what each head looks for, and writes."""
    keys = functional.linear(hidden, leaves["memory.keys.weight"], leaves["memory.keys.bias"])
    return unit(keys.reshape(*keys.shape[:-1], -1, slots_MW.shape[-1]))
