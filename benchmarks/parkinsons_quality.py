"""Parkinson's telemonitoring: the total UPDRS of patients never seen, from their first 5, 10 and 20 recordings by time.

python -m benchmarks.parkinsons_quality path/to/parkinsons_updrs.csv

A patient is a task. Six folds of patients, each held out once; of the others one in five serves for validation, which
chooses nothing here. One model a fold and seed for all three sizes. The error is the mean over patients of each
patient's mean squared error on all later recordings; intervals are paired, by bootstrap over patients.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from app.datasets.caps import caps_of
from app.datasets.read import read_dataset
from app.episode import Settings, Support
from app.jobs.plan import planned_run
from app.learners.learner import NO_NOISE
from app.learners.model import Model
from app.task_distributions.dataset import Dataset
from app.task_distributions.distribution import Split
from app.training.run import train
from benchmarks.results import ROOT, Figure, show
from innerloop.wire import DatasetSpec, Limits, MetaTrainRequest

COMMAND = "python -m benchmarks.parkinsons_quality parkinsons_updrs.csv"
SIZES, FOLDS, SEEDS, BOOTSTRAPS = (5, 10, 20), 6, 3, 10_000
VALIDATION_SHARE = 0.2
TARGET = 0.9
TIME = 2
RIDGE_ALPHAS = (0.1, 1.0, 10.0)
SPEC: dict[str, Any] = {
    "name": "parkinsons",
    "kind": "grouped",
    "targets": "total_UPDRS",
    "group": "subject#",
    "order_by": "test_time",
    "inputs": [
        "age",
        "sex",
        "test_time",
        *("Jitter(%)", "Jitter(Abs)", "Jitter:RAP", "Jitter:PPQ5", "Jitter:DDP"),
        *("Shimmer", "Shimmer(dB)", "Shimmer:APQ3", "Shimmer:APQ5", "Shimmer:APQ11", "Shimmer:DDA"),
        *("NHR", "HNR", "RPDE", "DFA", "PPE"),
    ],
}
Rows = npt.NDArray[np.float64]
Predict = Callable[[Rows, Rows, Rows], Rows]
"""(support inputs, support targets, query inputs) -> predictions."""


class Patient(NamedTuple):
    """One patient's recordings in the order of time."""

    inputs: Rows
    targets: Rows


def main(path: Path) -> list[Figure]:
    """Compare with the baselines at each size, by time and, for the record, on random rows."""
    dataset = read_dataset(DatasetSpec.model_validate(SPEC), path, path.name, caps_of(Limits()))
    everybody = [
        Patient(*(of[dataset.groups == i].double().numpy() for of in (dataset.inputs, dataset.targets[:, 0])))
        for i in range(len(dataset.group_names))
    ]
    ours = cross_validated(dataset, everybody, by_time)
    figures = []
    for size in SIZES:
        theirs = {name: errors(everybody, size, baseline, by_time) for name, baseline in baselines(everybody).items()}
        for name, of_patients in theirs.items():
            print(f"  {size:2d} recordings, {name}: {of_patients.mean():.2f}")
        alone = errors(everybody, size, _ridge_alone, by_time).mean()
        print(f"  {size:2d} recordings, for the record, ridge standardised on the support alone: {alone:.2f}")
        best = min(theirs, key=lambda name: theirs[name].mean())
        ratio, low, high = compared(ours[size].mean(axis=0), theirs[best])
        spread = ours[size].mean(axis=1).std(ddof=1)
        wins = float((ours[size].mean(axis=0) < theirs[best]).mean())
        reached = (
            f"{ours[size].mean():.2f} ± {spread:.2f} over seeds, {ratio:.2f} times {best}'s {theirs[best].mean():.2f} "
            f"(paired 95%: {low:.2f} to {high:.2f}; better for {wins:.0%} of patients)"
        )
        what = f"total UPDRS of unseen patients, first {size} recordings, all later ones: squared error"
        figures.append(Figure(what, reached, f"≤ {TARGET} times", ratio <= TARGET, COMMAND))
    random = cross_validated(dataset, everybody, at_random)
    for size in SIZES:
        between = errors(everybody, size, interpolated, at_random).mean()
        print(f"  {size:2d} random rows, for the record: ours {random[size].mean():.2f}, interpolated {between:.2f}")
    return show(figures)


def cross_validated(dataset: Dataset, everybody: list[Patient], rows: "Order") -> dict[int, Rows]:
    """Return for each size the error of each patient [seeds, patients], by models that never saw the patient."""
    found = {size: np.zeros((SEEDS, len(everybody))) for size in SIZES}
    for seed in range(SEEDS):
        shuffled = np.random.default_rng(seed).permutation(len(everybody))
        for held_out in np.array_split(shuffled, FOLDS):
            rest = np.setdiff1d(shuffled, held_out, assume_unique=True)
            num_validation = round(VALIDATION_SHARE * len(rest))
            split: dict[Split, tuple[int, ...]] = {
                "train": tuple(map(int, rest[num_validation:])),
                "validation": tuple(map(int, rest[:num_validation])),
                "test": tuple(map(int, held_out)),
            }
            model = trained(dataset._replace(split=split), seed)
            for size in SIZES:
                of_patients = errors([everybody[i] for i in held_out], size, predictions(model), rows)
                found[size][seed, held_out] = of_patients
    return found


def trained(dataset: Dataset, seed: int) -> Model:
    """Meta-train by the request that stands in models/requests."""
    body = json.loads((ROOT / "models" / "requests" / "parkinsons.json").read_text())
    request = MetaTrainRequest.model_validate({**body, "seed": seed})
    planned = planned_run(request, {"parkinsons": dataset}, Limits())
    *_, last = train(planned.plan, planned.learner, planned.training, planned.validation, torch.device("cpu"))
    return Model(planned.card, planned.learner, last.state().best)


def predictions(model: Model) -> Predict:
    """Return a model's predictions after its default steps."""

    def predict(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
        x, y = torch.from_numpy(x_S).float(), torch.from_numpy(y_S).float()[:, None]
        support = Support(x, y, torch.ones(len(x), dtype=torch.bool), torch.zeros(0, dtype=torch.bool))
        settings = Settings(model.card.default_steps or 0, torch.ones(()))
        with torch.no_grad():
            params, _ = model.learner.adapt(model.meta, support, settings, NO_NOISE)
            outputs: Rows = (
                model.learner.predict(model.meta, params, torch.from_numpy(x_Q).float())[:, 0].double().numpy()
            )
        return outputs

    return predict


Order = Callable[[int, int], npt.NDArray[np.int64]]
"""(patient, rows) -> an order of the rows; the support comes first."""


def by_time(patient: int, num_rows: int) -> npt.NDArray[np.int64]:
    """Return the order of time."""
    return np.arange(num_rows)


def at_random(patient: int, num_rows: int) -> npt.NDArray[np.int64]:
    """Return an order without time, in which rows on both sides give most of a query row away."""
    return np.random.default_rng(patient).permutation(num_rows)


def errors(patients: list[Patient], size: int, predict: Predict, rows: Order) -> Rows:
    """Return each patient's mean squared error on the rows after the first `size`."""
    found = []
    for i, patient in enumerate(patients):
        order = rows(i, len(patient.targets))
        seen, later = order[:size], order[size:]
        predicted = predict(patient.inputs[seen], patient.targets[seen], patient.inputs[later])
        found.append(np.square(predicted - patient.targets[later]).mean())
    return np.array(found)


def baselines(everybody: list[Patient]) -> dict[str, Predict]:
    """Return what a user would try first."""
    columns = np.concatenate([patient.inputs for patient in everybody])
    mean, std = columns.mean(axis=0), columns.std(axis=0)
    return {
        "the mean": lambda x, y, q: np.full(len(q), y.mean()),
        "the last value": lambda x, y, q: np.full(len(q), y[-1]),
        "a line in time": _line,
        "ridge": lambda x, y, q: _ridge((x - mean) / std, y, (q - mean) / std),
    }


def interpolated(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    """Return values between the neighbours in time."""
    order = x_S[:, TIME].argsort(kind="stable")
    between: Rows = np.interp(x_Q[:, TIME], x_S[order, TIME], y_S[order])
    return between


def compared(ours: Rows, theirs: Rows) -> tuple[float, float, float]:
    """Return the ratio of the mean errors and its 95% interval, patients drawn anew for both at once."""
    drawn = np.random.default_rng(0).integers(0, len(ours), (BOOTSTRAPS, len(ours)))
    low, high = np.quantile(ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1), (0.025, 0.975))
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def _line(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    middle = x_S[:, TIME].mean()
    t = x_S[:, TIME] - middle
    slope = t @ (y_S - y_S.mean()) / (t @ t)
    line: Rows = y_S.mean() + slope * (x_Q[:, TIME] - middle)
    return line


def _ridge_alone(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    """Return ridge regression that knows no other patient's spread; columns that do not vary say nothing."""
    mean, std = x_S.mean(axis=0), x_S.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    return _ridge((x_S - mean) / std, y_S, (x_Q - mean) / std)


def _ridge(z_S: Rows, y_S: Rows, z_Q: Rows) -> Rows:
    """Return ridge regression with a free intercept; its strength by leave-one-out."""
    centred, residual = z_S - z_S.mean(axis=0), y_S - y_S.mean()
    gram = centred @ centred.T
    best: tuple[float, Rows] = (np.inf, np.zeros(z_S.shape[1]))
    for alpha in RIDGE_ALPHAS:
        solved = np.linalg.inv(gram + alpha * np.eye(len(y_S)))
        left_out = (residual - gram @ solved @ residual) / (1.0 - np.diag(gram @ solved) - 1.0 / len(y_S))
        best = min(best, (float(np.square(left_out).mean()), centred.T @ solved @ residual), key=lambda found: found[0])
    predicted: Rows = y_S.mean() + (z_Q - z_S.mean(axis=0)) @ best[1]
    return predicted


if __name__ == "__main__":
    main(Path(sys.argv[1]))
