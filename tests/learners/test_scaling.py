"""Scaling is part of the model: callers give and get their own units."""

import pytest
import torch

from app.card import Card, InputCard, OutputCard
from app.episode import Episode, MetaParams, Query, Scaling, Settings, Support
from app.learners.learner import NO_NOISE, Learner
from app.learners.model import learner_of
from app.learners.registry import build_learner
from app.learners.scaling import with_scaling
from app.networks.registry import build_network
from app.trees import all_finite, merge
from tests.learners.answers import answer, close, mapped

FEATURES, ROWS = 3, 6
SETTINGS = Settings(2, torch.tensor(1.0))
INPUTS = torch.tensor([170.0, -3.0, 0.5]), torch.tensor([30.0, 0.1, 2.0])
ONE = Scaling(*INPUTS, torch.tensor([20.0]), torch.tensor([5.0]))
TWO = Scaling(*INPUTS, torch.tensor([20.0, -1.0]), torch.tensor([5.0, 0.2]))
OF_INPUTS = Scaling(*INPUTS, torch.zeros(0), torch.zeros(0))


def plain(numbers: int, loss: str = "squared") -> Learner:
    network = build_network({"kind": "mlp", "hidden": [8]}, (FEATURES,), numbers)
    return build_learner({"kind": "maml", "learning_rate": 0.1}, network, loss, 0)


def meta_of(learner: Learner) -> MetaParams:
    return learner.init(torch.Generator().manual_seed(0))


def scaled_episode(numbers: int) -> Episode:
    """Return a task of scaled rows."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, ROWS, FEATURES, generator=generator), torch.randn(2, ROWS, numbers, generator=generator)
    mask, none = torch.ones(ROWS, dtype=torch.bool), torch.zeros(0)
    return Episode(Support(x[0], y[0], mask, none.bool()), Query(x[1], y[1], mask), none.long())


def in_units(episode: Episode, scaling: Scaling) -> Episode:
    """Return the same task in the units that `scaling` undoes."""
    support, query, class_ids = episode
    inputs_SI, inputs_QI = (rows.inputs * scaling.input_std + scaling.input_mean for rows in (support, query))
    targets_SD, targets_QD = (rows.targets * scaling.target_std + scaling.target_mean for rows in (support, query))
    return Episode(
        support._replace(inputs=inputs_SI, targets=targets_SD),
        query._replace(inputs=inputs_QI, targets=targets_QD),
        class_ids,
    )


@pytest.mark.parametrize("scaling", [ONE, TWO], ids=["one number", "two numbers"])
def test_learner_sees_scaled_rows_and_callers_see_their_units(scaling: Scaling) -> None:
    inner = plain(len(scaling.target_mean))
    learner, episode = with_scaling(inner, scaling), scaled_episode(len(scaling.target_mean))
    expected = answer(inner, meta_of(inner), episode)
    found = answer(learner, meta_of(learner), in_units(episode, scaling))
    close(found.task_params, expected.task_params, 1e-4)
    close(found.outputs, expected.outputs * scaling.target_std + scaling.target_mean, 1e-4)
    close(found.meta_loss, expected.meta_loss, 1e-4)


@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_losses_of_one_number_are_told_in_the_callers_units(loss: str) -> None:
    learner, episode = with_scaling(plain(1, loss), ONE), in_units(scaled_episode(1), ONE)
    meta, delta = meta_of(learner), float(ONE.target_std)
    rule = {"squared": torch.nn.MSELoss(), "huber": torch.nn.HuberLoss(delta=delta)}[loss]
    task_params, trace = learner.adapt(meta, episode.support, SETTINGS, NO_NOISE)
    _, metrics = learner.meta_loss(meta, episode, SETTINGS, NO_NOISE, torch.tensor(0.5))
    after, outputs = (learner.predict(meta, task_params, rows.inputs) for rows in (episode.support, episode.query))
    expected = rule(outputs, episode.query.targets)
    close(trace.support_loss[-1], rule(after, episode.support.targets))
    close(metrics["loss"], expected)
    close(learner.metrics(meta, outputs, episode.query)["loss"], expected)


def test_losses_of_several_numbers_are_relative_to_the_variances() -> None:
    learner, episode = with_scaling(plain(2), TWO), in_units(scaled_episode(2), TWO)
    outputs = answer(learner, meta_of(learner), episode).outputs
    expected = ((outputs - episode.query.targets) / TWO.target_std).square().mean()
    close(learner.metrics(meta_of(learner), outputs, episode.query)["loss"], expected)


def test_accuracy_and_losses_of_classes_are_as_they_were() -> None:
    inner = plain(2, "cross_entropy")
    learner, (support, query, class_ids) = with_scaling(inner, OF_INPUTS), scaled_episode(1)
    classes = torch.arange(ROWS) % 2
    both = torch.ones(2, dtype=torch.bool)
    episode = Episode(support._replace(targets=classes, class_mask=both), query._replace(targets=classes), class_ids)
    wide = mapped(torch.clone, episode)
    for rows in wide[:2]:
        rows.inputs.mul_(OF_INPUTS.input_std).add_(OF_INPUTS.input_mean)
    close(answer(learner, meta_of(learner), wide), answer(inner, meta_of(inner), episode), 1e-4)


def test_means_and_deviations_are_fixed_leaves_beside_the_learners() -> None:
    inner, learner = plain(1), with_scaling(plain(1), ONE)
    assert meta_of(learner).trained.keys() == meta_of(inner).trained.keys()
    added = {name: leaf for name, leaf in meta_of(learner).fixed.items() if name not in meta_of(inner).fixed}
    names = [f"scaling.{rows}.{number}" for rows in ("inputs", "targets") for number in ("mean", "std")]
    close(added, dict(zip(names, ONE, strict=True)))


def test_padding_that_is_not_finite_when_scaled_changes_nothing() -> None:
    tiny = ONE._replace(input_std=torch.full((FEATURES,), 1e-30), target_std=torch.tensor([1e-30]))
    learner = with_scaling(plain(1), tiny)
    support = scaled_episode(1).support
    at_mean = support._replace(inputs=tiny.input_mean.expand(ROWS, -1), targets=tiny.target_mean.expand(ROWS, 1))
    padded = at_mean._replace(
        inputs=torch.cat([at_mean.inputs, torch.full((1, FEATURES), 1e20)]),
        targets=torch.cat([at_mean.targets, torch.full((1, 1), 1e20)]),
        row_mask=torch.cat([at_mean.row_mask, torch.zeros(1, dtype=torch.bool)]),
    )
    alone, trace = learner.adapt(meta_of(learner), at_mean, SETTINGS, NO_NOISE)
    found, padded_trace = learner.adapt(meta_of(learner), padded, SETTINGS, NO_NOISE)
    assert all_finite(merge(found, {"trace": padded_trace.support_loss}))
    close((found, padded_trace), (alone, trace))


@pytest.mark.parametrize(
    ("inputs", "targets", "names"),
    [
        (False, False, set()),
        (True, False, {"scaling.inputs.mean", "scaling.inputs.std"}),
        (True, True, {"scaling.inputs.mean", "scaling.inputs.std", "scaling.targets.mean", "scaling.targets.std"}),
    ],
)
def test_card_tells_what_is_scaled_and_its_learner_starts_with_a_scaling_that_changes_nothing(
    inputs: bool, targets: bool, names: set[str]
) -> None:
    card = Card(
        name="toy",
        learner={"kind": "maml"},
        network={"kind": "mlp"},
        loss="squared",
        input=InputCard(kind="vector", shape=(FEATURES,)),
        output=OutputCard(kind="regression", shape=(2,)),
        num_train_classes=0,
        scales_inputs=inputs,
        scales_targets=targets,
        default_steps=1,
        max_steps=1,
    )
    learner = learner_of(card)
    unscaled = learner_of(card.model_copy(update={"scales_inputs": False, "scales_targets": False}))
    assert {name for name in meta_of(learner).fixed if name.startswith("scaling.")} == names
    episode = scaled_episode(2)
    close(answer(learner, meta_of(learner), episode), answer(unscaled, meta_of(unscaled), episode))
