"""Contract: many tasks at once, and padding of rows, classes and tasks, change no task's answer."""

import torch
from torch import Tensor

from app.episode import Episode, MetaParams, Settings, Support, TaskParams, Trace, Tree
from app.learners.learner import NO_NOISE, Learner
from app.training.meta_step import meta_gradient
from app.trees import stack, unstack
from tests.learners.answers import (
    DOUBLE,
    STEPS,
    answer,
    answers,
    as_double,
    close,
    equal_to_the_bit,
    mapped,
    task_of,
)
from tests.learners.cases import TASKS, Case, every_case, every_classifier
from tests.learners.toys import WAYS

PROGRESS = torch.tensor(0.5)
FEWER_WAYS = WAYS - 1


@every_case
def test_tasks_at_once_get_what_each_gets_alone(case: Case) -> None:
    learner, meta, episodes = case.learner(), case.meta(), case.episodes()
    together = answers(learner, meta, episodes)
    for i in range(TASKS):
        close(task_of(together, i), answer(learner, meta, task_of(episodes, i)))


@every_case
def test_task_params_of_many_tasks_predict_at_once_as_one_by_one(case: Case) -> None:
    learner, meta, episodes = case.learner(), case.meta(), case.episodes()
    alone = [answer(learner, meta, task_of(episodes, i)) for i in range(TASKS)]
    params_T = stack([each.task_params for each in alone])
    together = torch.vmap(lambda params, x: learner.predict(meta, params, x))(params_T, episodes.query.inputs)
    close(together, torch.stack([each.outputs for each in alone]))
    equal_to_the_bit(unstack(params_T), [each.task_params for each in alone])


@every_case
def test_meta_gradient_of_many_tasks_is_the_mean_of_theirs(case: Case) -> None:
    learner, meta, episodes = case.learner(), as_double(case.meta()), as_double(case.episodes())
    together, _ = meta_gradient(learner, meta, episodes, STEPS, PROGRESS)
    alone = stack([_gradient(learner, meta, task_of(episodes, i)) for i in range(TASKS)])
    close(together, {name: leaf_T.mean(dim=0) for name, leaf_T in alone.items()}, DOUBLE)


@every_case
def test_padded_rows_change_nothing(case: Case) -> None:
    learner, meta, episode = case.learner(), as_double(case.meta()), as_double(case.episode())
    support, query, class_ids = episode
    class_mask = support.class_mask
    padded_support = mapped(_with_garbage_rows, support)._replace(class_mask=class_mask)
    padded = Episode(padded_support, mapped(_with_garbage_rows, query), class_ids)
    expected, found = answer(learner, meta, episode), answer(learner, meta, padded)
    close(found.trace, expected.trace, DOUBLE)
    close(found.meta_loss, expected.meta_loss, DOUBLE)
    close(found.outputs[1:-2], expected.outputs, DOUBLE)
    close(_gradient(learner, meta, padded), _gradient(learner, meta, episode), DOUBLE)


def _with_garbage_rows(leaf: Tensor) -> Tensor:
    """Return the rows with one more before and two behind: large numbers, class 0, masked."""
    garbage = torch.full_like(leaf[:1], 40.0 if leaf.is_floating_point() else 0)
    return torch.cat([garbage, leaf, garbage, garbage])


@every_classifier
def test_padded_classes_change_nothing(case: Case) -> None:
    """The smaller initialisation is the larger one cut to its shapes, where a leaf has classes at all."""
    wide, narrow = case.learner(WAYS), case.learner(FEWER_WAYS)
    meta = as_double(wide.init(torch.Generator().manual_seed(0)))
    shapes = narrow.init(torch.Generator().manual_seed(0))
    cut = MetaParams(*(_cut_to(tree, like) for tree, like in zip(meta, shapes, strict=True)))
    episode = as_double(case.episode(FEWER_WAYS))
    more = WAYS - FEWER_WAYS
    class_mask = torch.cat([episode.support.class_mask, torch.zeros(more, dtype=torch.bool)])
    class_ids = torch.cat([episode.class_ids, torch.zeros(more, dtype=torch.int64)])
    padded = Episode(episode.support._replace(class_mask=class_mask), episode.query, class_ids)
    expected, found = answer(narrow, cut, episode), answer(wide, meta, padded)
    close(found.trace, expected.trace, DOUBLE)
    close(found.meta_loss, expected.meta_loss, DOUBLE)
    close(found.outputs[:, :FEWER_WAYS], expected.outputs, DOUBLE)
    smaller = _gradient(narrow, cut, episode)
    close(_cut_to(_gradient(wide, meta, padded), smaller), smaller, DOUBLE)


def _cut_to(tree: Tree, like: Tree) -> Tree:
    return {name: leaf[tuple(slice(size) for size in like[name].shape)] for name, leaf in tree.items()}


@every_case
def test_more_tasks_in_the_batch_change_nothing(case: Case) -> None:
    learner, meta, episodes = case.learner(), case.meta(), case.episodes()
    fuller = mapped(lambda leaf: torch.cat([leaf, torch.ones_like(leaf[:2])]), episodes)
    together = answers(learner, meta, fuller)
    close(mapped(lambda leaf: leaf[:TASKS], together), answers(learner, meta, episodes))


@every_case
def test_task_of_nan_leaves_its_neighbours_equal_to_the_bit(case: Case) -> None:
    learner, meta, episodes = case.learner(), case.meta(), case.episodes()
    poisoned = mapped(torch.clone, episodes)
    poisoned.support.inputs[1] = torch.nan
    poisoned.query.inputs[1] = torch.nan
    expected, found = answers(learner, meta, episodes), answers(learner, meta, poisoned)
    equal_to_the_bit(mapped(lambda leaf: leaf[::2], found), mapped(lambda leaf: leaf[::2], expected))


@every_case
def test_tasks_of_different_scales_share_a_batch(case: Case) -> None:
    learner, meta, episodes = case.learner(), case.meta(), case.episodes()
    scales = torch.tensor([0.0, 0.5, 2.0])

    def adapted(support: Support, scale: Tensor) -> tuple[TaskParams, Trace]:
        return learner.adapt(meta, support, Settings(STEPS, scale), NO_NOISE)

    together = torch.vmap(adapted)(episodes.support, scales)
    for i, scale in enumerate(scales):
        close(task_of(together, i), adapted(task_of(episodes.support, i), scale))


def _gradient(learner: Learner, meta: MetaParams, episode: Episode) -> Tree:
    """Return the meta-gradient of one task, without vmap."""
    trained = mapped(lambda leaf: leaf.clone().requires_grad_(), meta.trained)
    settings = Settings(STEPS, torch.tensor(1.0, dtype=torch.float64))
    loss, _ = learner.meta_loss(MetaParams(trained, meta.fixed), episode, settings, NO_NOISE, PROGRESS)
    gradients = torch.autograd.grad(loss, list(trained.values()), materialize_grads=True, allow_unused=True)
    return dict(zip(trained, gradients, strict=True))
