"""The shipped omniglot as the start of gradient steps: ANIL over its features, from the same class means.

python -m benchmarks.omniglot_gradient path/to/images_background.zip

The weights are those of models/omniglot.safetensors; nothing is trained. The number of steps and their rate are chosen
for each number of shots on tasks of the validation alphabets, and held against tasks of the test alphabets.
"""

import sys
from pathlib import Path

import torch

from app.commands.requests import datasets_from
from app.episode import Episode, MetaParams
from app.jobs.model_files import model_of, read_model_files
from app.jobs.report import evaluation_tasks
from app.learners.learner import Learner
from app.learners.registry import build_learner
from app.networks.registry import build_network
from app.task_distributions.distribution import Split
from app.task_distributions.registry import Datasets
from app.training.evaluate import evaluate
from benchmarks.results import ROOT, Figure, show

TARGETS = {(5, 1): 0.98, (5, 5): 0.995, (20, 1): 0.94, (20, 5): 0.983}
RATES, STEPS = (0.01, 0.1, 1.0), (1, 3, 10)
QUERIES, BATCH = 15, 10
NUM_TASKS: dict[Split, int] = {"validation": 40, "test": 300}
SEED = 6_000_003


def main(archive: Path) -> list[Figure]:
    """Choose on validation tasks, evaluate on test tasks, and print the accuracies."""
    torch.set_num_threads(1)
    model = model_of(read_model_files(ROOT / "models" / "omniglot.safetensors"))
    datasets, _ = datasets_from([f"omniglot={archive}"])
    network = build_network(model.card.network, model.card.input.shape, model.card.num_outputs)
    options = {"kind": "anil", "steps": max(STEPS), "learning_rate": 1.0, "head": "class_means"}
    learner = build_learner(options, network, model.card.loss, model.card.num_train_classes)
    start = learner.init(torch.Generator())
    meta = MetaParams({name: model.meta.trained[name] for name in start.trained}, start.fixed)
    figures = []
    for (ways, shots), target in TARGETS.items():
        steps, rate = _chosen(learner, meta, _batches(datasets, ways, shots, "validation"))
        found = evaluate(learner, meta, _batches(datasets, ways, shots, "test"), steps, rate)["accuracy"]
        what = f"omniglot under ANIL, {ways}-way {shots}-shot, {steps} steps of {rate}, {NUM_TASKS['test']} tasks"
        reached = f"{found.mean:.2%} ± {found.interval:.2%}"
        command = f"python -m benchmarks.omniglot_gradient {archive.name}"
        figures.append(Figure(what, reached, f"≥ {target:.1%}", found.mean >= target, command))
    return show(figures)


def _chosen(learner: Learner, meta: MetaParams, batches: list[Episode]) -> tuple[int, float]:
    """Return the steps, at least 1, and the rate of the best accuracy; of equals the fewest and the smallest."""
    tried = [(steps, rate) for steps in STEPS for rate in RATES]
    return max(tried, key=lambda pair: evaluate(learner, meta, batches, *pair)["accuracy"].mean)


def _batches(datasets: Datasets, ways: int, shots: int, split: Split) -> list[Episode]:
    tasks = {"kind": "labelled", "dataset": "omniglot", "ways": ways}
    held_out = evaluation_tasks(tasks, shots, QUERIES, split, datasets)
    generator = torch.Generator().manual_seed(SEED)
    return [held_out.sample(generator, BATCH) for _ in range(NUM_TASKS[split] // BATCH)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
