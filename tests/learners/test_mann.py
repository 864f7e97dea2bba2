"""The memory-augmented network against torch's own LSTM cell and plain loops, and the order it reads rows in."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import LSTMCell, functional

from app.episode import MetaParams, Settings, Support, Tree
from app.learners.learner import NO_NOISE, Learner
from app.learners.mann import content_order
from app.learners.memory import LEAST_NORM, USAGE_DECAY
from app.learners.registry import build_learner
from app.networks.network import Network
from app.training.evaluate import task_metrics
from app.training.meta_step import meta_gradient
from tests.learners.answers import as_double, close, mapped
from tests.learners.cases import Case, Variant
from tests.learners.toys import TOYS

FEATURES, ROWS, QUERIES, WAYS = 5, 9, 4, 3
OPTIONS = {"kind": "mann", "hidden": 6, "slots": 4, "width": 5, "reads": 2}
SETTINGS = Settings(0, torch.tensor(1.0))
TARGETS = torch.tensor([0, 1, 1, 2, 2, 2, 0, 1, 0])
ALL_ROWS = torch.ones(ROWS, dtype=torch.bool)


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_task_and_answers_are_those_of_a_plain_loop(loss: str) -> None:
    learner, meta = _learner(loss)
    support, queries = as_double(_support(loss)), _rows(QUERIES, FEATURES, seed=2).double()
    task_params, _ = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    expected_state, expected = _by_hand(meta.trained, support, queries)
    close({name: task_params[f"state.{name}"] for name in expected_state}, expected_state)
    close(learner.predict(meta, task_params, queries), expected)


def test_trace_is_the_support_loss_of_rows_shown_again_without_labels() -> None:
    learner, meta = _learner("squared")
    support = as_double(_support("squared"))
    task_params, trace = learner.adapt(meta, support, SETTINGS, NO_NOISE)
    outputs = learner.predict(meta, task_params, support.inputs)
    close(trace.support_loss, (outputs - support.targets).square().mean()[None], 1e-7)


def test_rows_come_in_an_order_of_their_content_and_masked_rows_last() -> None:
    support = _support("cross_entropy")
    shuffled = torch.randperm(ROWS, generator=torch.Generator().manual_seed(3))
    mixed = support._replace(inputs=support.inputs[shuffled], targets=support.targets[shuffled])
    close(mixed.inputs[content_order(mixed)], support.inputs[content_order(support)])
    masked = support._replace(row_mask=torch.arange(ROWS) != 4)
    assert content_order(masked)[-1] == 4


@pytest.mark.parametrize("targets", [torch.tensor([0, 1]), torch.tensor([1, 0])], ids=str)
def test_equal_rows_come_in_the_order_of_their_labels(targets: Tensor) -> None:
    twice = Support(torch.ones(2, FEATURES), targets, ALL_ROWS[:2], torch.ones(2, dtype=torch.bool))
    other = twice._replace(targets=targets.flip(0))
    close(twice.targets[content_order(twice)], other.targets[content_order(other)])


def test_pictures_of_few_dots_never_tie() -> None:
    """Sums of square roots, or of multiples of one number, would tie: 1 + 4 = 2 + 3."""
    dots = torch.combinations(torch.arange(12), 3)
    pictures = torch.zeros(len(dots), 1, 3, 4)
    pictures.flatten(1).scatter_(1, dots, 1.0)
    support = Support(
        pictures, torch.zeros(len(dots)).long(), torch.ones(len(dots)).bool(), torch.ones(1, dtype=torch.bool)
    )
    shuffled = torch.randperm(len(dots), generator=torch.Generator().manual_seed(0))
    mixed = support._replace(inputs=pictures[shuffled])
    close(mixed.inputs[content_order(mixed)], pictures[content_order(support)])


def test_meta_training_on_few_iterations_tells_new_classes_apart() -> None:
    toy = next(toy for toy in TOYS if toy.name == "vectors")
    case = Case(Variant("mann", {"kind": "mann"}, ("state.",)), toy)
    learner, meta = case.learner(), case.meta()
    optimizer = torch.optim.Adam(list(meta.trained.values()), lr=0.01)
    for i in range(60):
        gradient, _ = meta_gradient(learner, meta, case.episodes(4, seed=100 + i), 0, torch.tensor(0.0))
        for name, leaf in meta.trained.items():
            leaf.grad = gradient[name]
        optimizer.step()
    learned = MetaParams(mapped(torch.Tensor.detach, meta.trained), meta.fixed)
    assert float(task_metrics(learner, learned, case.episodes(64, seed=5), 0)["accuracy"].mean()) > 0.5


def test_more_reads_than_slots_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads \(3\) must be at most slots \(2\)"):
        _learner("squared", slots=2, reads=3)


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"hidden": 2000}, {"width": 1.5}, {"reads": -1}], ids=str)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        _learner("squared", **wrong)


def _by_hand(leaves: Tree, support: Support, queries: Tensor) -> tuple[Tree, Tensor]:
    """Return the state after the support and the queries' outputs: one row, one head and one slot at a time."""
    cell_of = _lstm_cell(leaves)
    hidden, cell = torch.zeros(1, 6).double(), torch.zeros(1, 6).double()
    found, slots, usage = torch.zeros(2, 5).double(), torch.zeros(4, 5).double(), torch.zeros(4).double()
    labels = _labels(support)
    for s in content_order(support):
        row = torch.cat([support.inputs[s], labels[s], found.flatten()])[None]
        hidden, cell = cell_of(row, (hidden, cell))
        keys = _keys_by_hand(leaves, hidden[0])
        weights = [_weights_by_hand(leaves, slots, key) for key in keys]
        found = torch.stack([weight @ slots for weight in weights])
        gates = (leaves["memory.gates.weight"] @ hidden[0] + leaves["memory.gates.bias"]).sigmoid()
        least_used = sorted(range(4), key=lambda m: float(usage[m]) + 1e-4 * m)[:2]
        usage, slots = USAGE_DECAY * usage, slots.clone()
        for m in least_used:
            slots[m] = 0.0
        for h in range(2):
            written = gates[h] * weights[h]
            written[least_used[h]] += 1.0 - gates[h]
            slots = slots + written[:, None] * keys[h]
            usage = usage + weights[h] + written
    outputs = []
    for query in queries:
        row = torch.cat([query, torch.zeros(labels.shape[1]), found.flatten()])[None]
        after, _ = cell_of(row, (hidden, cell))
        read = [_weights_by_hand(leaves, slots, key) @ slots for key in _keys_by_hand(leaves, after[0])]
        outputs.append(leaves["head.weight"] @ torch.cat([after[0], *read]) + leaves["head.bias"])
    return {"hidden": hidden[0], "cell": cell[0], "found": found.flatten(), "slots": slots}, torch.stack(outputs)


def _lstm_cell(leaves: Tree) -> LSTMCell:
    """Return torch's cell over a row, its label and what was last read."""
    of_hidden, of_found = leaves["controller.state.weight"][:, :6], leaves["controller.state.weight"][:, 6:]
    of_row = torch.cat([leaves["controller.features.weight"], leaves["controller.labels.weight"], of_found], dim=1)
    cell = LSTMCell(of_row.shape[1], 6, dtype=torch.float64)
    state = {
        "weight_ih": of_row,
        "weight_hh": of_hidden,
        "bias_ih": leaves["controller.bias"],
        "bias_hh": torch.zeros(24),
    }
    cell.load_state_dict(state)
    return cell.requires_grad_(requires_grad=False)


def _keys_by_hand(leaves: Tree, hidden: Tensor) -> list[Tensor]:
    keys = (leaves["memory.keys.weight"] @ hidden + leaves["memory.keys.bias"]).reshape(2, 5)
    return [key / (key @ key + LEAST_NORM**2).sqrt() for key in keys]


def _weights_by_hand(leaves: Tree, slots: Tensor, key: Tensor) -> Tensor:
    cosines = [key @ slot / (slot @ slot + LEAST_NORM**2).sqrt() for slot in slots]
    return (leaves["memory.log_sharpness"].exp() * torch.stack(cosines)).softmax(dim=0)


def _labels(support: Support) -> Tensor:
    return support.targets if support.targets.dim() == 2 else functional.one_hot(support.targets, WAYS).double()


def _learner(loss: str, **options: Any) -> tuple[Learner, MetaParams]:
    """Return a learner over rows as they are, with all leaves moved so that none is 0."""

    def init(generator: torch.Generator) -> Tree:
        return {"head.weight": torch.zeros(WAYS, FEATURES), "head.bias": torch.zeros(WAYS)}

    network = Network(init, lambda params, inputs: inputs, (FEATURES,), FEATURES, WAYS)
    learner = build_learner({**OPTIONS, **options}, network, loss, 0)
    generator = torch.Generator().manual_seed(0)
    trained, fixed = learner.init(generator)
    moved = {name: leaf + 0.3 * torch.randn(leaf.shape, generator=generator) for name, leaf in trained.items()}
    return learner, as_double(MetaParams(moved, fixed))


def _rows(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def _support(loss: str) -> Support:
    inputs = _rows(ROWS, FEATURES, seed=1)
    if loss == "squared":
        return Support(inputs, _rows(ROWS, WAYS, seed=4), ALL_ROWS, torch.zeros(0, dtype=torch.bool))
    return Support(inputs, TARGETS, ALL_ROWS, torch.ones(WAYS, dtype=torch.bool))
