"""Statistics of the support set as a part of the task's parameters, whichever learner adapts the rest.

A network that normalises by them (`Network.statistics`) reads them as leaves. They are found once a task, from the
initial weights, before the learner adapts, and stay while it does. The learner sees them as leaves of the
initialisation that it does not move.
"""

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.learner import Learner, Metrics
from app.networks.network import Network
from app.networks.support_norm import NORM
from app.trees import merge


def with_support_statistics(learner: Learner, network: Network) -> Learner:
    """Return the learner that gives its network the statistics of each task's support.

    The same learner, where the network asks for none.
    """
    statistics = network.statistics
    if statistics is None:
        return learner

    def init(generator: torch.Generator) -> MetaParams:
        trained, fixed = learner.init(generator)
        return MetaParams(merge(trained, statistics.init()), fixed)

    def seeing(meta: MetaParams, norms: Tree) -> MetaParams:
        # Among the trained leaves: the meta-gradient reaches the weights through them.
        return meta._replace(trained=merge(meta.trained, norms))

    def norms_of(meta: MetaParams, support: Support) -> Tree:
        return statistics.of_support(merge(meta.fixed, meta.trained), support.inputs, support.row_mask)

    def adapt(meta: MetaParams, support: Support, settings: Settings, noise: Tree) -> tuple[TaskParams, Trace]:
        norms = norms_of(meta, support)
        task_params, trace = learner.adapt(seeing(meta, norms), support, settings, noise)
        return merge(task_params, norms), trace

    def predict(meta: MetaParams, task_params: TaskParams, inputs_Q: Tensor) -> Tensor:
        norms = {name: leaf for name, leaf in task_params.items() if name.startswith(NORM)}
        own = {name: leaf for name, leaf in task_params.items() if name not in norms}
        return learner.predict(seeing(meta, norms), own, inputs_Q)

    def meta_loss(
        meta: MetaParams, episode: Episode, settings: Settings, noise: Tree, progress: Tensor
    ) -> tuple[Tensor, Metrics]:
        return learner.meta_loss(seeing(meta, norms_of(meta, episode.support)), episode, settings, noise, progress)

    return learner._replace(init=init, adapt=adapt, predict=predict, meta_loss=meta_loss)
