"""Contract: what adapt gives back, what it leaves alone, and what its settings do."""

import copy

import pytest
import torch

from app.episode import Episode, Query, Settings, Support
from app.learners.learner import NO_NOISE
from app.training.meta_step import meta_gradient
from app.trees import all_finite, from_bytes, merge, to_bytes
from tests.learners.answers import STEPS, answer, close, equal_to_the_bit, mapped
from tests.learners.cases import CASES, CLASSIFIERS, Case, every_case
from tests.learners.toys import WAYS

CLASS_MASK = "class_mask"

every_stepping_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case.learner().traits.takes_steps], ids=str
)


@every_case
def test_arguments_are_left_as_they_were(case: Case) -> None:
    learner, meta, episode, episodes = case.learner(), case.meta(), case.episode(), case.episodes()
    settings, progress = Settings(STEPS, torch.tensor(1.0)), torch.tensor(0.5)
    before = copy.deepcopy((meta, episode, episodes, settings.rate_scale, progress))
    task_params, _ = learner.adapt(meta, episode.support, settings, NO_NOISE)
    params_before = copy.deepcopy(task_params)
    learner.predict(meta, task_params, episode.query.inputs)
    learner.meta_loss(meta, episode, settings, NO_NOISE, progress)
    meta_gradient(learner, meta, episodes, STEPS, progress)
    equal_to_the_bit((meta, episode, episodes, settings.rate_scale, progress), before)
    equal_to_the_bit(task_params, params_before)
    assert not any(leaf.requires_grad for leaf in (*meta.trained.values(), *meta.fixed.values()))


@every_case
def test_same_arguments_give_the_same_bits(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    equal_to_the_bit(answer(learner, meta, episode), answer(learner, meta, episode))


@every_stepping_case
def test_steps_where_nothing_is_differentiated_give_the_same(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    with torch.no_grad():  # as in serving: a task alone takes a shorter way to its gradients
        alone = answer(learner, meta, episode)
    assert not any(leaf.requires_grad for leaf in alone.task_params.values())
    close(alone, answer(learner, meta, episode))


@every_case
def test_initialisation_depends_on_the_seed_alone(case: Case) -> None:
    equal_to_the_bit(case.meta(seed=3), case.meta(seed=3))
    one, other = case.meta(seed=3).trained, case.meta(seed=4).trained
    assert any(not torch.equal(one[name], other[name]) for name in one)


@every_case
@pytest.mark.parametrize("steps", [0, STEPS])
def test_task_params_hold_only_what_adaptation_changed(case: Case, steps: int) -> None:
    meta = case.meta()
    leaves = merge(meta.fixed, meta.trained)
    task_params = answer(case.learner(), meta, case.episode(), steps).task_params
    for name, leaf in task_params.items():
        assert name == CLASS_MASK or name.startswith(case.changes)
        assert name not in leaves or not torch.equal(leaf, leaves[name])
    assert (CLASS_MASK in task_params) == case.classifies


@every_stepping_case
def test_no_steps_change_no_leaf_of_the_initialisation(case: Case) -> None:
    meta = case.meta()
    task_params = answer(case.learner(), meta, case.episode(), steps=0).task_params
    assert not task_params.keys() & merge(meta.fixed, meta.trained).keys()


@every_case
def test_task_params_survive_a_save_and_a_load_to_the_bit(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    task_params, _, outputs, _ = answer(learner, meta, episode)
    loaded = from_bytes(to_bytes(task_params))
    equal_to_the_bit(loaded, task_params)
    equal_to_the_bit(learner.predict(meta, loaded, episode.query.inputs), outputs)


@every_stepping_case
def test_trace_is_the_support_loss_before_the_first_step_and_after_each(case: Case) -> None:
    learner, meta, (support, _, _) = case.learner(), case.meta(), case.episode()
    losses = []
    for steps in range(STEPS + 1):
        task_params, trace = learner.adapt(meta, support, Settings(steps, torch.tensor(1.0)), NO_NOISE)
        outputs = learner.predict(meta, task_params, support.inputs)
        losses.append(learner.metrics(meta, outputs, Query(*support[:3]))["loss"])
        assert trace.support_loss.shape == (steps + 1,)
    close(trace.support_loss, torch.stack(losses))


@every_case
def test_trace_has_one_loss_more_than_steps(case: Case) -> None:
    steps = STEPS if case.learner().traits.takes_steps else 0
    assert answer(case.learner(), case.meta(), case.episode()).trace.support_loss.shape == (steps + 1,)


@every_stepping_case
def test_steps_lower_the_support_loss(case: Case) -> None:
    losses = answer(case.learner(), case.meta(), case.episode()).trace.support_loss
    assert (losses.diff() < 0).all()


@every_stepping_case
def test_twice_the_scale_is_twice_the_rate(case: Case) -> None:
    episode = case.episode()
    rate = case.variant.options["learning_rate"]
    faster = case.learner(learning_rate=2 * rate)
    faster_meta = faster.init(torch.Generator().manual_seed(0))
    close(answer(case.learner(), case.meta(), episode, scale=2.0)[:3], answer(faster, faster_meta, episode)[:3])


@every_stepping_case
def test_scale_of_zero_is_no_step(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    close(answer(learner, meta, episode, scale=0.0).outputs, answer(learner, meta, episode, steps=0).outputs)


@every_stepping_case
def test_traits_tell_the_rate_only_where_it_is_one_fixed_number(case: Case) -> None:
    traits = case.learner().traits
    assert traits.steps == STEPS
    assert traits.learning_rate == (None if traits.learned_rates else case.variant.options["learning_rate"])


@every_case
def test_one_support_row_is_enough(case: Case) -> None:
    support, query, class_ids = case.episode()
    one = mapped(lambda leaf: leaf[:1], support)._replace(class_mask=support.class_mask)
    task_params, trace, outputs, _ = answer(case.learner(), case.meta(), Episode(one, query, class_ids))
    assert all_finite({**task_params, "trace": trace.support_loss, "outputs": outputs})


@pytest.mark.parametrize("case", CLASSIFIERS, ids=str)
def test_unequal_numbers_of_rows_a_class_are_taken(case: Case) -> None:
    support, query, class_ids = case.episode()
    first, rest = support.targets == 0, support.targets == WAYS - 1
    rows = torch.cat([first.nonzero().flatten().repeat(20), rest.nonzero().flatten()[:1]])
    inputs, targets, row_mask, class_mask = support
    unequal = Support(inputs[rows], targets[rows], row_mask[rows], class_mask)
    task_params, trace, outputs, _ = answer(case.learner(), case.meta(), Episode(unequal, query, class_ids))
    assert all_finite({**task_params, "trace": trace.support_loss, "outputs": outputs})


@every_case
def test_order_of_the_support_rows_does_not_matter(case: Case) -> None:
    learner, meta, (support, query, class_ids) = case.learner(), case.meta(), case.episode()
    turned = mapped(lambda leaf: leaf.flip(0), support)._replace(class_mask=support.class_mask)
    found = answer(learner, meta, Episode(turned, query, class_ids))
    close(found.outputs, answer(learner, meta, Episode(support, query, class_ids)).outputs)
