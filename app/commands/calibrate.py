"""`python -m app calibrate`: what held-out tasks tell of a model, found anew and put into its files."""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from app.commands.evaluate import print_table
from app.commands.requests import DATA_HELP, datasets_from
from app.commands.train import without_folders
from app.jobs.finished import completed_model
from app.jobs.model_files import model_of, read_model_files, write_model
from app.learners.calibration import COLD, at
from app.learners.model import Model, learner_of

console = Console(stderr=True)


def calibrate(
    weights: Annotated[
        Path, typer.Argument(help="A model's weights, models/sinusoid.safetensors; its card lies beside.")
    ],
    data: Annotated[list[str] | None, typer.Option(help=DATA_HELP)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the new files; that of the model if absent.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of torch.")] = None,
) -> None:
    """Fit a model's temperatures and make its card's metrics and references anew, as at the end of a training.

    Whether or not it has temperatures: a model from before there were any gets them. No trained weight changes. The
    tasks are those of the card's own training request: its validation split for what is fitted and chosen, its test
    split for metrics alone.
    """
    if threads:
        torch.set_num_threads(threads)
    datasets, _ = datasets_from(data or [])
    try:
        model = _calibrated_form(model_of(read_model_files(weights)))
        tasks = model.card.provenance["request"]["tasks"]
        model = completed_model(
            model,
            tasks,
            datasets,
            {**model.card.provenance, "calibration": _provenance()},
            lambda split, shots, table: print_table(console, f"{split}, {shots} shots", table),
        )
    except KeyError as error:
        raise typer.BadParameter(f"{weights}: its card's provenance holds no training request") from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    path = write_model(out or weights.parent, model.card, model.meta)
    console.print(f"wrote {path} and its card")


def _calibrated_form(model: Model) -> Model:
    """Return the model with a place for temperatures; as it is when it answers with numbers."""
    if model.card.output.kind != "classification":
        return model
    card = model.card.model_copy(update={"calibrated": True})
    return Model(card, learner_of(card), at(model.meta, COLD))


def _provenance() -> dict[str, Any]:
    return {
        "command": "python -m app " + shlex.join(without_folders(sys.argv[1:])),
        "torch": torch.__version__,
        "finished_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
