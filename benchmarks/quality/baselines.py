"""What a user would try first on the very same rows: no meta-learning, nothing learned of other tasks but a mean.

Each is a function of one task; scikit-learn's own defaults where nothing else is said.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LogisticRegression, RidgeCV
from torch import Tensor

from app.episode import Episode
from app.task_distributions.dataset import as_float, part_of
from app.task_distributions.registry import Datasets
from benchmarks import parkinsons_quality
from benchmarks.quality.comparisons import Comparison

Rows = npt.NDArray[np.float64]
Predict = Callable[[Rows, Rows, Rows], Rows]
"""(support inputs, support targets, query inputs) -> targets of the query."""
Baseline = Callable[[Comparison, Datasets], Predict]
"""What it takes of a data set is seen before any task."""

PREFIX = "baseline-"
INVERSE_STRENGTH = 10.0
"""C of logistic regression: embeddings have unit length, and less would shrink too much."""


def _plain(predict: Predict) -> Baseline:
    return lambda comparison, datasets: predict


def _logistic(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # one shot a class is few rows
        model = LogisticRegression(C=INVERSE_STRENGTH, max_iter=1000).fit(x_S, y_S)
    labels: Rows = model.predict(x_Q)
    return labels


def _centroid(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    labels = np.unique(y_S)
    means = np.stack([x_S[y_S == label].mean(axis=0) for label in labels])
    # Without |x|^2, which is the same for all.
    distances = np.square(means).sum(axis=1) - 2.0 * x_Q @ means.T
    nearest: Rows = labels[distances.argmin(axis=1)]
    return nearest


def _centred_centroid(comparison: Comparison, datasets: Datasets) -> Predict:
    """Return the nearest centroid of rows less the training split's mean, at unit length."""
    dataset = datasets[str(comparison.dataset)]
    centre = as_float(dataset.inputs[part_of(dataset, "train").rows]).double().mean(dim=0).flatten().numpy()

    def unit(x: Rows) -> Rows:
        offsets: Rows = x - centre
        unit_rows: Rows = offsets / np.linalg.norm(offsets, axis=1, keepdims=True).clip(1e-12)
        return unit_rows

    return lambda x_S, y_S, x_Q: _centroid(unit(x_S), y_S, unit(x_Q))


def _mean(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    return np.full(len(x_Q), y_S.mean())


def _ridge(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    predicted: Rows = RidgeCV(alphas=(0.1, 1.0, 10.0)).fit(x_S, y_S).predict(x_Q)
    return predicted


def _gaussian_process(x_S: Rows, y_S: Rows, x_Q: Rows) -> Rows:
    """Return the mean of a process whose scales are those of largest marginal likelihood."""
    kernel = ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at the end of its range is a scale
        predicted: Rows = GaussianProcessRegressor(kernel, normalize_y=True).fit(x_S, y_S).predict(x_Q)
    return predicted


def _of_patients(name: str) -> Baseline:
    """Return a baseline as benchmarks/parkinsons_quality.py has it, over the columns of all patients."""

    def prepared(comparison: Comparison, datasets: Datasets) -> Predict:
        dataset = datasets[str(comparison.dataset)]
        everybody = [
            parkinsons_quality.Patient(
                dataset.inputs[dataset.groups == group].double().numpy(),
                dataset.targets[dataset.groups == group, 0].double().numpy(),
            )
            for group in range(len(dataset.group_names))
        ]
        return parkinsons_quality.baselines(everybody)[name]

    return prepared


BASELINES: Mapping[str, Mapping[str, Baseline]] = {
    "sinusoid": {
        "mean": _plain(_mean),
        "ridge": _plain(_ridge),
        "gaussian-process": _plain(_gaussian_process),
    },
    "omniglot": {"centroid": _plain(_centroid), "logistic": _plain(_logistic)},
    "intents": {
        "centroid": _plain(_centroid),
        "centred-centroid": _centred_centroid,
        "logistic": _plain(_logistic),
    },
    "patients": {
        "mean": _of_patients("the mean"),
        "last": _of_patients("the last value"),
        "line": _of_patients("a line in time"),
        "ridge": _of_patients("ridge"),
    },
}

NAMES = {
    "mean": "mean of the support",
    "ridge": "ridge regression, strength by cross-validation",
    "gaussian-process": "Gaussian process, fitted scales",
    "centroid": "nearest centroid of the rows",
    "centred-centroid": "nearest centroid, centred on the training split",
    "logistic": f"logistic regression, C={INVERSE_STRENGTH:g}",
    "last": "last value",
    "line": "line in time",
}


def baseline_values(comparison: Comparison, name: str, datasets: Datasets, batches: Sequence[Episode]) -> Tensor:
    """Return the metric of each task [T]."""
    predict = BASELINES[comparison.name][name](comparison, datasets)
    return torch.tensor([_score(comparison, predict, task) for episodes in batches for task in _tasks(episodes)])


def _score(comparison: Comparison, predict: Predict, task: Mapping[str, Any]) -> float:
    answers = predict(task["x_S"], task["y_S"], task["x_Q"])
    if comparison.metric == "accuracy":
        return float((answers == task["y_Q"]).mean())
    return float(np.square(answers - task["y_Q"]).mean())


def _tasks(episodes: Episode) -> list[dict[str, Rows]]:
    """Return each task of a batch as plain arrays: rows of numbers, one target each."""
    support, query, _ = episodes
    arrays = {
        "x_S": support.inputs.flatten(2),
        "y_S": support.targets.flatten(1),
        "x_Q": query.inputs.flatten(2),
        "y_Q": query.targets.flatten(1),
    }
    as_numpy = {name: tensor.double().numpy() for name, tensor in arrays.items()}
    return [{name: array[task] for name, array in as_numpy.items()} for task in range(len(support.inputs))]
