"""Accuracy of the shipped omniglot-5way on alphabets it never saw: one checkpoint, 1 shot and 5 shots.

python -m benchmarks.omniglot_quality path/to/images_background.zip
"""

import sys
from pathlib import Path

import torch

from app.commands.requests import datasets_from
from app.jobs.model_files import model_of, read_model_files
from app.jobs.report import EVALUATION_SEED, evaluation_tasks
from app.training.evaluate import evaluate
from benchmarks.results import ROOT, Figure, show

NUM_TASKS, BATCH, QUERIES = 1000, 50, 15
TARGETS = {1: 0.95, 5: 0.98}


def main(archive: Path) -> list[Figure]:
    """Evaluate at the card's default steps and print the accuracies."""
    model = model_of(read_model_files(ROOT / "models" / "omniglot-5way.safetensors"))
    datasets, _ = datasets_from([f"omniglot={archive}"])
    tasks, steps = model.card.provenance["request"]["tasks"], model.card.default_steps or 0
    command = f"python -m benchmarks.omniglot_quality {archive.name}"
    figures = []
    for shots, target in TARGETS.items():
        held_out = evaluation_tasks(tasks, shots, QUERIES, "test", datasets)
        generator = torch.Generator().manual_seed(EVALUATION_SEED + 1)
        batches = [held_out.sample(generator, BATCH) for _ in range(NUM_TASKS // BATCH)]
        accuracy = evaluate(model.learner, model.meta, batches, steps)["accuracy"]
        what = f"omniglot-5way, {shots}-shot accuracy, held-out alphabets, {NUM_TASKS} tasks, {QUERIES} queries"
        reached = f"{accuracy.mean:.2%} ± {accuracy.interval:.2%}"
        figures.append(Figure(what, reached, f"≥ {target:.1%}", accuracy.mean >= target, command))
    return show(figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
