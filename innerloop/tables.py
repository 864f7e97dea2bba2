"""Show answers as tables in a terminal."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from innerloop import wire


def adaptation(answer: wire.AdaptAnswer) -> Table:
    """Show what adaptation did, one line a fact."""
    losses = answer.support_loss
    facts: dict[str, object] = {
        "task": answer.task_id,
        "revision": f"{answer.revision}{' (cached)' if answer.cached else ''}",
        "model": f"{answer.model}@{answer.model_version}",
        "steps": _number(answer.steps) + ("" if answer.kept_step == answer.steps else f", kept {answer.kept_step}"),
        "support rows": answer.support_size,
        "classes": _list(answer.classes),
        "support loss": " → ".join(_number(loss) for loss in losses),
        "expires": answer.expires_at,
        "compute": f"{answer.timing_ms.compute:.1f} ms of {answer.timing_ms.total:.1f} ms",
    }
    if answer.validation is not None:
        before, after = answer.validation.before, answer.validation.after
        facts["validation"] = f"{'–' if before is None else _score(before)} → {_score(after)}"
    return _facts(facts)


def predictions(answer: wire.PredictAnswer, names: Sequence[str]) -> Table:
    """Show one prediction a line; `names` name the rows."""
    if answer.labels is None:
        outputs = answer.outputs or []
        width = len(outputs[0]) if outputs else 1
        columns = ["output"] if width == 1 else [f"output {index}" for index in range(width)]
        return _table(["row", *columns], ([name, *map(_number, y)] for name, y in zip(names, outputs, strict=True)))
    rows = zip(names, answer.labels, answer.probabilities or [], strict=True)
    columns = ["row", "label", *(f"p({name})" for name in answer.classes or [])]
    return _table(columns, ([name, label, *map(_number, p)] for name, label, p in rows))


def tasks(found: Iterable[wire.TaskInfo]) -> Table:
    """Show one task a line."""
    columns = ["task", "model", "revision", "support rows", "classes", "bytes", "updated", "expires"]
    return _table(
        columns,
        (
            [
                task.task_id,
                f"{task.model}@{task.model_version}",
                task.revision,
                task.support_size,
                _list(task.classes),
                task.bytes,
                task.updated_at,
                task.expires_at,
            ]
            for task in found
        ),
    )


def task(found: wire.TaskInfo) -> Table:
    """Show one task, one line a fact."""
    return _facts({**dict(found), "classes": _list(found.classes)})


def models(found: Iterable[wire.ModelInfo]) -> Table:
    """Show one model a line, by its active version."""
    rows = []
    for model in found:
        active = next((v for v in model.versions if v.version == model.active_version), None)
        described = ["–"] * 3 if active is None else [active.learner.kind, active.network.kind, active.output.kind]
        rows.append([model.name, model.active_version, len(model.versions), *described])
    return _table(["model", "active version", "versions", "learner", "network", "answers"], rows)


def model(found: wire.ModelInfo) -> Table:
    """Show the versions of a model, one a line; the active one is marked."""
    columns = ["version", "learner", "network", "input", "output", "steps", "bytes", "created"]
    return _table(
        columns,
        (
            [
                f"{found.name}@{v.version}{' (active)' if v.version == found.active_version else ''}",
                v.learner.kind,
                v.network.kind,
                f"{v.input.kind} {v.input.shape}",
                f"{v.output.kind} {v.output.shape}",
                f"{_number(v.default_steps)} of at most {_number(v.max_steps)}",
                v.bytes,
                v.created_at,
            ]
            for v in found.versions
        ),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table()
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _facts(facts: dict[str, object]) -> Table:
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(Text(name), _cell(value))
    return table


def _cell(value: object) -> Text:
    # Text and not str: names may hold what rich would take for markup.
    return Text("–" if value is None else str(value))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _list(names: Sequence[object] | None) -> str:
    return "–" if names is None else ", ".join(map(str, names))


def _score(score: wire.Score) -> str:
    accuracy = "" if score.accuracy is None else f", accuracy {_number(score.accuracy)}"
    return f"loss {_number(score.loss)}{accuracy}"
