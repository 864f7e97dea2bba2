"""What rows count in an inner loop: by hand in plain torch, and what learned weights find out."""

import itertools
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from app.episode import Episode, MetaParams, Query, Settings, Support, Tree
from app.learners.head_start import LOG_SCALE, class_means_head
from app.learners.learner import NO_NOISE, Learner
from app.learners.losses import LOSSES
from app.learners.moving import HeadStart
from app.learners.registry import LEARNERS, build_learner
from app.learners.row_weights import (
    LEAST_WEIGHT,
    LOG_PRIOR,
    RowWeights,
    balanced_weights,
    initial_weight_net,
    learned_weights,
    normalised,
    weighted_class_means,
)
from app.networks.registry import build_network
from app.task_distributions.label_noise import mislabelled
from app.training.meta_step import meta_gradient
from app.trees import all_finite, merge
from tests.learners.answers import answer, as_double, close, mapped, task_of
from tests.learners.toys import DIMENSIONS, TOYS, WAYS, Toy

NUMBERS_TOY, CLASSES_TOY, *_ = TOYS
LEARNED = {"row_weights": "learned", "steps": 2, "learning_rate": 0.05}
WEIGHT = "weights.1.weight"
TOLERANCE = 1e-6
"""In float64 but for the equal weights of rows, which are rounded to float32."""
FEATURES = 6
ITERATIONS = 40


@pytest.mark.parametrize("steps", [1, 2])
def test_step_is_that_of_losses_times_weights_that_stay(steps: int) -> None:
    learner, meta = _learner({"kind": "maml", **LEARNED, "steps": steps}, NUMBERS_TOY)
    episodes = as_double(NUMBERS_TOY.sample(torch.Generator().manual_seed(1), 2, 0))
    trained = _requiring_gradients(meta.trained)
    total = torch.zeros(()).double()
    for i in range(2):
        support, query, _ = task_of(episodes, i)
        params = {name: leaf for name, leaf in trained.items() if name.startswith(("body.", "head."))}
        for _ in range(steps):
            losses = (_mlp(params, support.inputs) - support.targets).square().mean(dim=1)
            weights = _net(trained, losses)
            # One row after another, each with a weight that the inner derivative does not see.
            slopes = [torch.autograd.grad(each, list(params.values()), create_graph=True) for each in losses]
            step = [sum(w * slope[k] for w, slope in zip(weights, slopes, strict=True)) for k in range(len(params))]
            params = {
                name: leaf - 0.05 * each / weights.sum()
                for (name, leaf), each in zip(params.items(), step, strict=True)
            }
        total = total + (_mlp(params, query.inputs) - query.targets).square().mean() / 2
    expected = dict(zip(trained, torch.autograd.grad(total, list(trained.values())), strict=True))
    found, metrics = meta_gradient(learner, meta, episodes, steps, torch.tensor(0.5).double())
    close(metrics["meta_loss"], total.detach(), TOLERANCE)
    close(found, expected, TOLERANCE)


def test_class_means_are_those_of_rows_judged_twice_without_themselves() -> None:
    leaves, features, support = _shaken(of_means=True), _features(9), _support([0, 0, 0, 1, 1, 1, 1, 2, 2])
    scale = leaves[LOG_SCALE].exp()
    weights = torch.ones(9).double()
    for _ in range(2):
        losses = []
        for i in range(9):
            others = torch.arange(9) != i
            logits = torch.stack([-scale * _distance(features, support, weights, others, n, i) for n in range(3)])
            losses.append(functional.cross_entropy(logits[None], support.targets[i : i + 1]))
        weights = _net(leaves, torch.stack(losses))
    prior = leaves[LOG_PRIOR].exp()
    means = []
    for n in range(3):
        own = support.targets == n
        total = (weights[own][:, None] * features[own]).sum(dim=0) + prior * features.mean(dim=0)
        means.append(total / (weights[own].sum() + prior))
    found, found_weights = weighted_class_means(leaves, LOSSES["cross_entropy"], features, support, leaves[LOG_SCALE])
    close(found_weights, weights, TOLERANCE)
    close(found["head.weight"], 2.0 * scale * torch.stack(means), TOLERANCE)


def _distance(features: Tensor, support: Support, weights: Tensor, others: Tensor, n: int, i: int) -> Tensor:
    rows = (support.targets == n) & others
    mean = (weights[rows][:, None] * features[rows]).sum(dim=0) / weights[rows].sum()
    return (features[i] - mean).square().sum()


@pytest.mark.parametrize("counts", [[1, 1, 1], [1, 4, 2]], ids=str)
def test_class_of_one_row_has_that_row_for_its_mean(counts: list[int]) -> None:
    leaves, features = _shaken(of_means=True), _features(sum(counts))
    support = _support([n for n, count in enumerate(counts) for _ in range(count)])
    found, weights = weighted_class_means(leaves, LOSSES["cross_entropy"], features, support, leaves[LOG_SCALE])
    plain = class_means_head(features, *support[1:], leaves[LOG_SCALE])
    for n, count in enumerate(counts):
        if count == 1:
            close(found["head.weight"][n], plain["head.weight"][n], TOLERANCE)
    assert all_finite({**found, "weights": weights})


@pytest.mark.parametrize(
    "features",
    [torch.ones(6, FEATURES), torch.zeros(6, FEATURES), torch.eye(FEATURES).repeat(2, 1)[:6] * 1e4],
    ids=["constant", "zero", "far"],
)
@pytest.mark.parametrize("targets", [[0, 0, 0, 0, 0, 0], [0, 1, 2, 0, 1, 2]], ids=str)
def test_hard_rows_have_finite_means_and_weights(features: Tensor, targets: list[int]) -> None:
    leaves, support = _shaken(of_means=True), _support(targets)
    found, weights = weighted_class_means(
        leaves, LOSSES["cross_entropy"], features.double(), support, leaves[LOG_SCALE]
    )
    assert all_finite({**found, "weights": weights})
    assert weights.min() >= LEAST_WEIGHT


@pytest.mark.parametrize(
    "options",
    [{"kind": "maml"}, {"kind": "unicorn"}, {"kind": "protomaml"}, {"kind": "anil", "head": "class_means"}],
    ids=str,
)
def test_padding_changes_nothing_once_weights_differ(options: dict[str, Any]) -> None:
    learner, meta = _learner({**LEARNED, **options}, CLASSES_TOY)
    episode = as_double(task_of(CLASSES_TOY.sample(torch.Generator().manual_seed(1), 1, WAYS), 0))
    inputs, targets, row_mask, class_mask = episode.support
    padded = Support(
        torch.cat([torch.full_like(inputs[:1], 40.0), inputs, torch.full_like(inputs[:3], -40.0)]),
        functional.pad(targets, (1, 3)),
        functional.pad(row_mask, (1, 3)),
        class_mask,
    )
    expected, found = (answer(learner, meta, episode._replace(support=each)) for each in (episode.support, padded))
    close(found, expected, TOLERANCE)


@pytest.mark.parametrize("kind", ["protomaml", "unicorn"])
def test_absent_classes_change_nothing_once_weights_differ(kind: str) -> None:
    learner, meta = _learner({**LEARNED, "kind": kind}, CLASSES_TOY)
    episode = as_double(task_of(CLASSES_TOY.sample(torch.Generator().manual_seed(1), 1, WAYS), 0))
    more = functional.pad(episode.support.class_mask, (0, 2))
    padded = episode._replace(support=episode.support._replace(class_mask=more))
    expected, found = answer(learner, meta, episode), answer(learner, meta, padded)
    close(found.trace, expected.trace, TOLERANCE)
    close(found.outputs[:, :WAYS], expected.outputs, TOLERANCE)


def test_more_rows_of_a_class_change_nothing_where_classes_are_balanced() -> None:
    options = {"kind": "maml", "steps": 2, "learning_rate": 0.1}
    balanced, meta = _learner({**options, "row_weights": "balanced"}, CLASSES_TOY)
    equal, _ = _learner(options, CLASSES_TOY)
    episode = as_double(task_of(CLASSES_TOY.sample(torch.Generator().manual_seed(1), 1, WAYS), 0))
    first = (episode.support.targets == 0).nonzero().flatten()
    rows = torch.cat([torch.arange(len(episode.support.targets)), first.repeat(5)])
    more = mapped(lambda leaf: leaf[rows], Support(*episode.support[:3], episode.support.targets))
    repeated = episode._replace(support=more._replace(class_mask=episode.support.class_mask))
    close(answer(balanced, meta, repeated).outputs, answer(balanced, meta, episode).outputs, TOLERANCE)
    close(answer(balanced, meta, episode).outputs, answer(equal, meta, episode).outputs, TOLERANCE)
    with pytest.raises(AssertionError):
        close(answer(equal, meta, repeated).outputs, answer(equal, meta, episode).outputs, TOLERANCE)


@pytest.mark.parametrize(
    ("targets", "row_mask", "expected"),
    [
        ([0, 0, 0, 1], [1, 1, 1, 1], [1 / 6, 1 / 6, 1 / 6, 1 / 2]),
        ([0, 0, 0, 1], [1, 1, 0, 1], [1 / 4, 1 / 4, 0, 1 / 2]),
        ([0, 0, 2, 2], [0, 1, 1, 1], [0, 1 / 2, 1 / 4, 1 / 4]),
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_balanced_weights_sum_to_the_same_for_each_class_that_has_rows(
    targets: list[int], row_mask: list[int], expected: list[float]
) -> None:
    mask = torch.tensor(row_mask, dtype=torch.bool)
    found = balanced_weights(torch.tensor(targets), mask, torch.ones(3, dtype=torch.bool), torch.float64)
    close(found, torch.tensor(expected).double(), TOLERANCE)


def test_weights_start_equal() -> None:
    leaves = initial_weight_net(torch.Generator().manual_seed(0), of_means=False)
    row_mask = torch.tensor([True, True, False, True])
    found = normalised(learned_weights(leaves, torch.tensor([0.1, 5.0, torch.inf, 1e6]), row_mask))
    close(found, torch.tensor([1 / 3, 1 / 3, 0.0, 1 / 3]))


@pytest.mark.parametrize("options", [{"kind": "anil", "head": "class_means"}, {"kind": "unicorn"}], ids=str)
def test_wrong_labels_weigh_less_after_a_short_training(options: dict[str, Any]) -> None:
    network = build_network({"kind": "embedding"}, (FEATURES,), 1)
    learner = build_learner(
        {**options, "row_weights": "learned", "steps": 5, "learning_rate": 0.1}, network, "cross_entropy", 20
    )
    meta = learner.init(torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(list(meta.trained.values()), lr=0.02)
    for i in range(ITERATIONS):
        gradient, _ = meta_gradient(learner, meta, _noisy(4, seed=i)[0], 5, torch.tensor(i / ITERATIONS))
        for name, leaf in meta.trained.items():
            leaf.grad = gradient[name]
        optimizer.step()
    meta = MetaParams(mapped(torch.Tensor.detach, meta.trained), meta.fixed)
    episodes, is_wrong = _noisy(32, seed=1000)
    weights = torch.vmap(lambda support: _last_weights(learner, meta, support))(episodes.support)
    assert weights[is_wrong].mean() < 0.7 * weights[~is_wrong].mean()


COMBINATIONS = [
    {"kind": kind, "head": head, "row_weights": row_weights, "first_order": first_order}
    for kind, head, row_weights, first_order in itertools.product(
        LEARNERS, get_args(HeadStart), get_args(RowWeights), (False, True)
    )
]


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("toy", [NUMBERS_TOY, CLASSES_TOY], ids=lambda toy: toy.name)
def test_combination_trains_its_weights_or_is_refused(toy: Toy, options: dict[str, Any]) -> None:
    try:
        learner = build_learner(options, build_network(toy.network, (DIMENSIONS,), toy.num_outputs), toy.loss, 10)
    except ValueError:
        return
    generator = torch.Generator().manual_seed(0)
    meta, episodes = learner.init(generator), toy.sample(generator, 2, WAYS)
    gradient, _ = meta_gradient(learner, meta, episodes, learner.traits.steps, torch.tensor(0.0))
    assert all_finite(gradient)
    assert (WEIGHT in meta.trained) == (options["row_weights"] == "learned")
    assert WEIGHT not in gradient or gradient[WEIGHT].any()


@pytest.mark.parametrize(
    ("toy", "options", "message"),
    [
        (NUMBERS_TOY, {"kind": "maml", "row_weights": "balanced"}, "'balanced' needs classes"),
        (CLASSES_TOY, {"kind": "fomaml", "row_weights": "learned"}, "which first_order holds constant"),
        (NUMBERS_TOY, {"kind": "anil", "head": "fitted_intercept", "row_weights": "learned"}, "rows that count alike"),
        (NUMBERS_TOY, {"kind": "maml", "head": "shared"}, "'shared' needs classes"),
        (CLASSES_TOY, {"kind": "boil", "head": "shared"}, "leaves the head as the initialisation has it"),
        (NUMBERS_TOY, {"kind": "protomaml"}, "'class_means' needs classes"),
        (NUMBERS_TOY, {"kind": "unicorn"}, "'shared' needs classes"),
        (CLASSES_TOY, {"kind": "reptile", "row_weights": "learned"}, "'equal' or 'balanced'"),
        (CLASSES_TOY, {"kind": "maml", "row_weights": "robust"}, "'equal', 'balanced' or 'learned'"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(toy: Toy, options: dict[str, Any], message: str) -> None:
    network = build_network(toy.network, (DIMENSIONS,), toy.num_outputs)
    with pytest.raises(ValueError, match=message):
        build_learner(options, network, toy.loss, 10)


def _last_weights(learner: Learner, meta: MetaParams, support: Support) -> Tensor:
    """Return what the net makes of the rows' losses after adapting."""
    task_params, _ = learner.adapt(meta, support, Settings(5, torch.ones(())), NO_NOISE)
    logits = learner.predict(meta, task_params, support.inputs)
    losses = functional.cross_entropy(logits, support.targets, reduction="none")
    return learned_weights(meta.trained, losses, support.row_mask)


def _noisy(num_tasks: int, seed: int) -> tuple[Episode, Tensor]:
    """Return tasks of five classes with six rows each, 30% of the support's labels wrong, and which those are."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_tasks, 5, FEATURES, generator=generator)

    def rows(per_class: int) -> tuple[Tensor, Tensor, Tensor]:
        targets = torch.arange(5).repeat_interleave(per_class).expand(num_tasks, -1)
        x = centres.repeat_interleave(per_class, dim=1)
        return x + 0.5 * torch.randn(x.shape, generator=generator), targets, torch.ones_like(targets, dtype=torch.bool)

    inputs, targets, row_mask = rows(6)
    wrong = mislabelled(targets, 5, 0.3, generator)
    class_mask = torch.ones(num_tasks, 5, dtype=torch.bool)
    none = torch.zeros(num_tasks, 5, dtype=torch.int64)
    return Episode(Support(inputs, wrong, row_mask, class_mask), Query(*rows(6)), none), wrong != targets


def _learner(options: dict[str, Any], toy: Toy) -> tuple[Learner, MetaParams]:
    """Return a learner with an initialisation in float64 whose weights of rows differ."""
    network = build_network(toy.network, (DIMENSIONS,), toy.num_outputs)
    learner = build_learner(options, network, toy.loss, 10)
    trained, fixed = as_double(learner.init(torch.Generator().manual_seed(0)))
    shaken = {name: leaf for name, leaf in _shaken(of_means=True).items() if name in trained and name != LOG_SCALE}
    return learner, MetaParams(merge(trained, shaken), fixed)


def _shaken(*, of_means: bool) -> Tree:
    """Return the leaves of a net that tells rows apart, and the scale of the distances, in float64."""
    generator = torch.Generator().manual_seed(3)
    net = initial_weight_net(generator, of_means=of_means)
    net["weights.1.weight"] = torch.randn(net["weights.1.weight"].shape, generator=generator)
    return as_double({**net, LOG_SCALE: torch.tensor(-1.0)})


def _net(leaves: Tree, losses_S: Tensor) -> Tensor:
    hidden = torch.tanh(losses_S.log1p()[:, None] @ leaves["weights.0.weight"].T + leaves["weights.0.bias"])
    share = torch.sigmoid(hidden @ leaves["weights.1.weight"].T + leaves["weights.1.bias"])[:, 0]
    return LEAST_WEIGHT + (1 - LEAST_WEIGHT) * share


def _features(rows: int) -> Tensor:
    return torch.randn(rows, FEATURES, generator=torch.Generator().manual_seed(rows)).double()


def _support(targets: list[int]) -> Support:
    """Return a support whose inputs nobody looks at."""
    class_S = torch.tensor(targets)
    return Support(torch.zeros(len(targets), 1), class_S, torch.ones_like(class_S, dtype=torch.bool), torch.ones(3) > 0)


def _requiring_gradients(tree: Tree) -> Tree:
    return {name: leaf.clone().requires_grad_() for name, leaf in tree.items()}


def _mlp(params: Tree, inputs: Tensor) -> Tensor:
    hidden = inputs
    for i in (0, 1):
        hidden = functional.linear(hidden, params[f"body.{i}.weight"], params[f"body.{i}.bias"]).relu()
    return functional.linear(hidden, params["head.weight"], params["head.bias"])
