"""Whether `estimate` and `familiarity` mean what they say, on held-out tasks of the shipped models.

python -m benchmarks.worth --data omniglot=images_background.zip --data intents=clinc150_minilm.npz

`estimate` is held against what is then true of many query rows; `familiarity` of held-out tasks should be about
uniform, and that of foreign ones near 1. A model that is not there, or whose data are not given, is left out.
"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from app.card import ANY_WAYS
from app.commands.requests import datasets_from
from app.engine.estimate import estimate
from app.engine.executor import Adapted, AdaptWork, adapt_many, stacked
from app.engine.familiarity import familiarity
from app.episode import Episode, Query, Support
from app.jobs.model_files import model_of, read_model_files
from app.jobs.report import evaluation_tasks
from app.learners.model import Model
from app.task_distributions.registry import Datasets
from app.trees import unstack
from benchmarks.foreign import FOREIGN
from benchmarks.results import ROOT, machine
from benchmarks.worth_plots import plot_estimates, plot_familiarity

SEED = 5_000_003
CPU = torch.device("cpu")
QUERIES = {"labelled": 15, "grouped": 20, "sinusoid": 200}
SHOTS = {"labelled": (2, 5), "grouped": (5, 10, 20), "sinusoid": (5, 10, 20)}
WAYS = (5, 20)
HELD_OUT = "held out"


class Seen(NamedTuple):
    """What is found on some model's tasks."""

    name: str
    pairs: list[tuple[float, float]]
    """(estimate, truth) of each held-out task: accuracies, or mean squared errors."""
    is_error: bool
    shares: dict[str, list[float]]
    """Familiarity after adapting (where there is none, before), by where the tasks are from."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all shipped models that are there, and write the page and both plots."""
    options = _options(arguments)
    torch.set_num_threads(1)
    datasets, _ = datasets_from(options.data)
    seen = [found for path in sorted(options.models.glob("*.safetensors")) if (found := _seen(path, datasets, options))]
    options.out.mkdir(parents=True, exist_ok=True)
    plot_estimates([(each.name, each.pairs, each.is_error) for each in seen], options.out / "estimate.svg")
    referenced = [each for each in seen if each.shares.get(HELD_OUT)]  # an older card has no references
    plot_familiarity([(each.name, each.shares) for each in referenced], options.out / "familiarity.svg")
    page = _page(seen, options.tasks)
    (options.out / "WORTH.md").write_text(page)
    print(page)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worth")
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--data", action="append", default=[], help="NAME=PATH, as in python -m app evaluate")
    parser.add_argument("--tasks", type=int, default=60, help="of each size")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "plots")
    return parser.parse_args(arguments)


def _seen(path: Path, datasets: Datasets, options: argparse.Namespace) -> Seen | None:
    model = model_of(read_model_files(path))
    tasks = model.card.provenance["request"]["tasks"]
    if tasks.get("dataset", "") not in {"", *datasets}:
        print(f"{path.stem}: its data set {tasks['dataset']!r} is not given, left out")
        return None
    pairs: list[tuple[float, float]] = []
    shares: dict[str, list[float]] = {}
    foreign = FOREIGN[tasks["kind"] if tasks["kind"] in FOREIGN else model.card.input.kind]
    generator = torch.Generator().manual_seed(SEED)
    for episode in _tasks(model, tasks, datasets, options.tasks):
        pair = _estimated(model, episode)
        pairs += [pair] if pair else []
        for name, support in {
            HELD_OUT: episode.support,
            **{name: change(episode.support, generator) for name, change in foreign.items()},
        }.items():
            share = _familiar(model, support)
            shares.setdefault(name, []).extend([] if share is None else [share])
    return Seen(path.stem, pairs, model.card.output.kind == "regression", shares)


def _tasks(model: Model, tasks: dict[str, Any], datasets: Datasets, num_tasks: int) -> Iterator[Episode]:
    """Yield held-out tasks of some sizes, one by one."""
    holds = model.card.output.shape[0]
    all_ways = [None] if tasks["kind"] != "labelled" else [*WAYS] if holds == ANY_WAYS else [holds]
    for ways in all_ways:
        for shots in SHOTS[tasks["kind"]]:
            held_out = evaluation_tasks(tasks, shots, QUERIES[tasks["kind"]], "test", datasets, ways)
            episodes = held_out.sample(torch.Generator().manual_seed(SEED), num_tasks)
            parts = [unstack(part._asdict()) for part in (episodes.support, episodes.query)]
            for support, query, class_ids in zip(*parts, episodes.class_ids, strict=True):
                yield Episode(Support(**support), Query(**query), class_ids)


def _estimated(model: Model, episode: Episode) -> tuple[float, float] | None:
    """Return the estimate from the support and the truth of the query; None where there is none, or no adaptation."""
    work = AdaptWork(model, episode.support, model.card.default_steps or 0)
    adapted = _adapted(work)
    if isinstance(adapted, Exception):  # the caller is told of it in place of an estimate
        return None
    found = estimate(work, adapted.params, CPU)
    outputs_QO = model.learner.predict(model.meta, adapted.params.tree(), episode.query.inputs)
    if found is None:
        return None
    if found.accuracy is not None:
        return found.accuracy, float(model.learner.metrics(model.meta, outputs_QO, episode.query)["accuracy"])
    return found.error or 0.0, float((outputs_QO - episode.query.targets).square().mean())


def _adapted(work: AdaptWork) -> Adapted | Exception:
    """Return an adapted task, or that it diverged."""
    (adapted,) = adapt_many([work], stacked([work], CPU), CPU)
    return adapted


def _familiar(model: Model, support: Support) -> float | None:
    """Return the familiarity after adapting; 1 where it diverges, None without references."""
    adapted = _adapted(AdaptWork(model, support, model.card.default_steps or 0))
    if isinstance(adapted, Exception):
        return 1.0
    found = familiarity(model.card, adapted.support_loss, len(support.class_mask) or None, len(support.inputs))
    return found["after"] if found and found["after"] is not None else found["before"] if found else None


def auc(held_out: Sequence[float], foreign: Sequence[float]) -> float:
    """Return how often a foreign task has the larger share of two drawn at random; ties count half."""
    one, other = torch.tensor(held_out)[:, None], torch.tensor(foreign)
    return float(((one < other).double() + 0.5 * (one == other).double()).mean())


def correlation(pairs: Sequence[tuple[float, float]], *, in_logs: bool) -> float:
    """Return Pearson's correlation of estimates and truths; of their logarithms for errors, which span decades."""
    values = torch.tensor(pairs, dtype=torch.float64).T
    return float(torch.corrcoef(values.clamp(min=1e-12).log() if in_logs else values)[0, 1])


def _page(seen: Sequence[Seen], num_tasks: int) -> str:
    """Return the figures as the page that is committed."""
    lines = [
        "# What `estimate` and `familiarity` are worth",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}, {num_tasks} held-out tasks of each size; "
        "`python -m benchmarks.worth` makes this page and its plots anew.",
        "",
        "![Estimate against truth](estimate.svg)",
        "",
        "| Model | Tasks | Mean estimate | Mean truth | Mean difference of the two | Correlation |",
        "|---|---|---|---|---|---|",
    ]
    for each in seen:
        found, truth = torch.tensor(each.pairs, dtype=torch.float64).T
        r = correlation(each.pairs, in_logs=each.is_error)
        lines.append(
            f"| {each.name}{' (errors; correlation of logs)' if each.is_error else ''} | {len(each.pairs)} "
            f"| {found.mean():.4g} | {truth.mean():.4g} | {(found - truth).mean():+.4g} | {r:.2f} |"
        )
    lines += [
        "",
        "![Familiarity of held-out and foreign tasks](familiarity.svg)",
        "",
        "| Model | Tasks from | Mean familiarity | Share above 0.95 | AUC against held-out tasks |",
        "|---|---|---|---|---|",
    ]
    for each in seen:
        for name, shares in each.shares.items() if each.shares.get(HELD_OUT) else ():
            values = torch.tensor(shares)
            told = "" if name == HELD_OUT else f"{auc(each.shares[HELD_OUT], shares):.3f}"
            above = (values > 0.95).double().mean()
            lines.append(f"| {each.name} | {name} | {values.mean():.2f} | {above:.0%} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
