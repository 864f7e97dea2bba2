"""What methods are compared on: a data set each, its cells of held-out tasks, and how they are counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Metric = Literal["accuracy", "loss"]

QUERIES_A_CLASS = 15
"""Omniglot has 20 drawings a class, so that five shots leave as many."""
WRONG_LABELS = 0.3


class Cell(NamedTuple):
    """A column of the table: one kind of held-out task."""

    name: str
    options: Mapping[str, Any]
    """Over the options of the training tasks: ways, shots, queries."""
    num_tasks: int
    batch: int
    """Tasks at a time; it bounds memory and changes nothing."""


@dataclass(frozen=True)
class Comparison:
    """One data set with its cells; a method is trained once for all of them."""

    name: str
    title: str
    metric: Metric
    cells: tuple[Cell, ...]
    tasks: Mapping[str, Any]
    """Held-out tasks, but for what a cell says; none of the options that are for training alone."""
    dataset: str | None = None
    """What `--data` calls it; None where tasks are drawn without data."""
    num_folds: int = 1
    """Parts of the groups, each held out once; 1: the data set's own split is kept."""
    num_validation_tasks: int = 512
    num_validations: int = 10
    """In a training, evenly; the best of them is kept. Fewer where they would take much of the budget."""
    tuning_tasks: int = 200
    """Validation tasks on which numbers of steps, and step sizes of fine-tuning, are chosen for each cell."""
    conditions: str = field(default="")
    """What a reader must know of the tasks."""

    @property
    def most_ways(self) -> int:
        """Return the rows that a head with a row a class needs for all cells; 0 for regression."""
        return max(int(cell.options.get("ways", 0)) for cell in self.cells)


def _few_shot(ways: int, shots: int, num_tasks: int, batch: int, **more: Any) -> Cell:
    wrong = ", 30% wrong labels" if more else ""
    options = {"ways": ways, "shots": shots, "queries": QUERIES_A_CLASS, **more}
    return Cell(f"{ways}-way {shots}-shot{wrong}", options, num_tasks, batch)


def _sinusoid(shots: int) -> Cell:
    return Cell(f"{shots}-shot", {"shots": shots, "queries": 100}, 1000, 250)


SINUSOID = Comparison(
    name="sinusoid",
    title="Sinusoids: squared error of a curve from a few points",
    metric="loss",
    cells=(_sinusoid(10), _sinusoid(5)),
    tasks={"kind": "sinusoid"},
    conditions="Amplitude 0.1 to 5, phase 0 to pi, x in -5 to 5 (Finn et al. 2017); 100 fresh points a task.",
)

OMNIGLOT = Comparison(
    name="omniglot",
    title="Omniglot: characters of alphabets never seen, accuracy in percent",
    metric="accuracy",
    cells=(_few_shot(5, 1, 600, 20), _few_shot(5, 5, 600, 20), _few_shot(20, 1, 200, 5), _few_shot(20, 5, 200, 5)),
    tasks={"kind": "labelled", "dataset": "omniglot"},
    dataset="omniglot",
    num_validation_tasks=64,
    num_validations=5,
    tuning_tasks=25,
    conditions=(
        "The background set alone (30 alphabets), split by alphabet, which is harder than the usual one by character; "
        f"{QUERIES_A_CLASS} queries a class."
    ),
)

INTENTS = Comparison(
    name="intents",
    title="Intents: sentences of domains never seen, accuracy in percent",
    metric="accuracy",
    cells=(
        _few_shot(5, 1, 1000, 100),
        _few_shot(5, 5, 1000, 100),
        _few_shot(20, 1, 600, 25),
        _few_shot(20, 5, 600, 25),
        _few_shot(45, 1, 400, 10),
        _few_shot(45, 5, 400, 10),
        _few_shot(20, 5, 600, 25, evaluation_label_noise=WRONG_LABELS),
    ),
    tasks={"kind": "labelled", "dataset": "intents", "scaling": False},
    dataset="intents",
    num_validation_tasks=128,
    tuning_tasks=100,
    conditions=(
        "CLINC150 (Larson et al. 2019) as embeddings of all-MiniLM-L6-v2, split by domain: 2 to train on, 2 for "
        f"validation, 3 to test on; {QUERIES_A_CLASS} queries a class, whose labels are always right."
    ),
)

PATIENTS = Comparison(
    name="patients",
    title="Patients: total UPDRS of all later recordings from the first few, squared error",
    metric="loss",
    cells=tuple(Cell(f"first {shots}", {"shots": shots}, 30, 1) for shots in (5, 10, 20)),
    tasks={"kind": "grouped", "dataset": "parkinsons", "order": "first", "queries": 30},
    dataset="parkinsons",
    num_folds=6,
    num_validation_tasks=64,
    num_validations=1,
    tuning_tasks=64,
    conditions=(
        "Parkinson's telemonitoring (Tsanas et al. 2009): a patient is a task; six folds of patients, each held out "
        "once, which share the budget of a method; of the other patients one in five is for validation. All later "
        "recordings are predicted; intervals are over patients."
    ),
)

COMPARISONS: Mapping[str, Comparison] = {found.name: found for found in (SINUSOID, OMNIGLOT, INTENTS, PATIENTS)}
