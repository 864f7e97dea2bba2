"""Plain pre-training, the baseline of Finn et al. 2017, section 5.1: one network for all tasks, then fine-tuning.

For regression the network is trained on the rows of all tasks at once. For classification it is trained to tell
all classes of the training split apart, under a head that is thrown away; a task's own head starts at zero.
"""

from typing import Literal

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Tree
from app.learners.gradient import GradientOptions, gradient_learner, start_leaves, with_rates
from app.learners.learner import Learner, Metrics
from app.learners.losses import Loss, accuracy, masked_mean
from app.learners.moving import HEAD_LEAVES
from app.networks.initial import kaiming_uniform
from app.networks.network import Network, outputs
from app.trees import merge, prefixed, subtree

ALL_CLASSES = "all_classes."


class PretrainedOptions(GradientOptions):
    """`{"kind": "pretrained", "steps": 1, "learning_rate": 0.01}`: how to fine-tune.

    `rates` must be fixed and rows not weighted by what is learned: meta-training does not adapt.
    """

    kind: Literal["pretrained"] = "pretrained"
    rates: Literal["fixed"] = "fixed"
    head: Literal["learned", "class_means"] = "learned"
    row_weights: Literal["equal", "balanced"] = "equal"


def pretrained(options: PretrainedOptions, network: Network, loss: Loss, num_train_classes: int) -> Learner:
    """Return the learner whose meta-training does not adapt."""
    learner = gradient_learner(options, network, loss, "all")
    by_class = loss.output_kind == "classification"

    def init(generator: torch.Generator) -> MetaParams:
        if not by_class:
            return learner.init(generator)
        leaves = start_leaves(options, network, network.init(generator), generator)
        body = {name: leaf for name, leaf in leaves.items() if name.startswith("body.")}
        # The task's head: zeros where it is a leaf, else the scale that class means start with.
        task_head = {
            name: torch.zeros_like(leaf) if name in HEAD_LEAVES else leaf
            for name, leaf in leaves.items()
            if name not in body
        }
        weight = kaiming_uniform(generator, (num_train_classes, network.num_features), gain=1.0)
        all_classes = {"head.weight": weight, "head.bias": torch.zeros(num_train_classes)}
        meta = MetaParams(merge(body, prefixed(all_classes, ALL_CLASSES)), task_head)
        return with_rates(options, meta, {})  # one rate for all: no leaf has its own

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        params = merge(meta.trained, subtree(meta.trained, ALL_CLASSES))
        inputs_R, targets_R, row_mask_R = episode.rows()
        outputs_RO = outputs(network, params, inputs_R)
        if not by_class:
            value = masked_mean(loss.rows(outputs_RO, targets_R), row_mask_R)
            return value, {"loss": value}
        targets_R = episode.class_ids[targets_R]
        value = masked_mean(loss.rows(outputs_RO, targets_R), row_mask_R)
        return value, {"loss": value, "accuracy": accuracy(outputs_RO, targets_R, row_mask_R)}

    return learner._replace(init=init, meta_loss=meta_loss)
