"""Squared error of the shipped sinusoid model on 1000 held-out tasks, beside plain pre-training and fine-tuning.

The baseline gets its own best step size, chosen on validation tasks among a wide range, for each number of steps.
"""

import json

import torch

from app.episode import Episode
from app.jobs.model_files import model_of, read_model_files
from app.jobs.plan import planned_run
from app.learners.model import Model
from app.task_distributions.sinusoid import SinusoidOptions, sinusoid
from app.training.evaluate import Estimate, evaluate
from app.training.run import train
from benchmarks.results import ROOT, Figure, show
from innerloop.wire import Limits, MetaTrainRequest

COMMAND = "python -m benchmarks.sinusoid_quality"
NUM_TASKS, NUM_QUERIES, SHOTS = 1000, 100, 10
STEPS = (0, 1, 2, 5, 10)
RATE_SCALES = [2.0**power for power in range(-5, 6)]
"""Times the baseline's own 0.01: step sizes from 0.0003 to 0.32."""
VALIDATION_SEED, TEST_SEED = 2_000_003, 3_000_017


def main() -> list[Figure]:
    """Evaluate both and print a table."""
    tasks = sinusoid(SinusoidOptions(shots=SHOTS, queries=NUM_QUERIES))
    validation = [tasks.sample(torch.Generator().manual_seed(VALIDATION_SEED), NUM_TASKS)]
    test = [tasks.sample(torch.Generator().manual_seed(TEST_SEED), NUM_TASKS)]
    maml = model_of(read_model_files(ROOT / "models" / "sinusoid.safetensors"))
    baseline = _pretrained()

    def loss(model: Model, batches: list[Episode], steps: int, scale: float = 1.0) -> Estimate:
        return evaluate(model.learner, model.meta, batches, steps, scale)["loss"]

    print(
        f"sinusoid, {SHOTS} shots, {NUM_TASKS} held-out tasks, {NUM_QUERIES} fresh points each; mean and 95% interval"
    )
    reached: dict[int, tuple[Estimate, Estimate]] = {}
    for steps in STEPS:
        scale = min(RATE_SCALES, key=lambda s: _or_infinity(loss(baseline, validation, steps, s).mean))
        reached[steps] = loss(maml, test, steps), loss(baseline, test, steps, scale)
        ours, theirs = reached[steps]
        print(
            f"  {steps:2d} steps: sinusoid {ours.mean:.4f} ± {ours.interval:.4f}   "
            f"pre-trained {theirs.mean:.4f} ± {theirs.interval:.4f} (step size {0.01 * scale:.4g})"
        )
    after_1, after_10 = reached[1][0], reached[10][0]
    share = after_10.mean / reached[10][1].mean
    return show(
        [
            Figure("sinusoid, 10-shot, error after 1 step", _text(after_1), "≤ 0.35", after_1.mean <= 0.35, COMMAND),
            Figure("the same after 10 steps", _text(after_10), "≤ 0.12", after_10.mean <= 0.12, COMMAND),
            Figure("the same as a share of fine-tuned pre-training", f"{share:.3f}", "≤ 0.2", share <= 0.2, COMMAND),
        ]
    )


def _pretrained() -> Model:
    request = json.loads((ROOT / "models" / "requests" / "sinusoid-pretrained.json").read_text())
    planned = planned_run(MetaTrainRequest.model_validate(request), {}, Limits())
    runs = train(planned.plan, planned.learner, planned.training, planned.validation, torch.device("cpu"))
    *_, last = runs
    return Model(planned.card, planned.learner, last.state().best)


def _or_infinity(value: float) -> float:
    return value if value == value else float("inf")


def _text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ± {estimate.interval:.3f}"


if __name__ == "__main__":
    main()
