"""Squared error of Meta-SGD and MAML++ on sinusoids, on the 1000 held-out tasks of `sinusoid_quality`.

python -m benchmarks.sinusoid_family [FOLDER]: the models that `python -m app train` made in FOLDER from the requests in
models/requests (sinusoid-meta-sgd, sinusoid-mamlpp-10shot, sinusoid-mamlpp-5shot).
"""

import sys
from pathlib import Path

import torch

from app.jobs.model_files import model_of, read_model_files
from app.task_distributions.sinusoid import SinusoidOptions, sinusoid
from app.training.evaluate import evaluate
from benchmarks.results import Figure, show
from benchmarks.sinusoid_quality import NUM_QUERIES, NUM_TASKS, TEST_SEED

COMMAND = "python -m benchmarks.sinusoid_family FOLDER"
CASES = (
    ("sinusoid-meta-sgd", 10, 1, 0.20),
    ("sinusoid-mamlpp-10shot", 10, 5, 0.05),
    ("sinusoid-mamlpp-5shot", 5, 5, 0.15),
)
"""Model, shots, steps, target."""


def main(folder: Path) -> list[Figure]:
    """Evaluate each model after each of its steps."""
    figures = []
    for name, shots, steps, target in CASES:
        model = model_of(read_model_files(folder / f"{name}.safetensors"))
        tasks = sinusoid(SinusoidOptions(shots=shots, queries=NUM_QUERIES))
        test = [tasks.sample(torch.Generator().manual_seed(TEST_SEED), NUM_TASKS)]
        for step in range(steps + 1):
            loss = evaluate(model.learner, model.meta, test, step)["loss"]
            print(f"  {name}, {shots} shots, {step} steps: {loss.mean:.4f} ± {loss.interval:.4f}")
        seconds = model.card.provenance["training_seconds"]
        what = f"{name}, {shots}-shot, error after {steps} step{'s' if steps > 1 else ''}, trained in {seconds:.0f} s"
        reached = f"{loss.mean:.4f} ± {loss.interval:.4f}"
        figures.append(Figure(what, reached, f"≤ {target}", loss.mean <= target, COMMAND))
    return show(figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
