"""Show answers as tables in a terminal."""

from collections.abc import Iterable, Sequence

from rich.table import Table

from innerloop import wire
from innerloop.layout import Column, Listing, cell, facts, moment, number, size

_SHOWN_LOSSES = 8
_SHOWN_CLASSES = 5
_LIKELIEST = 3


def adaptation(answer: wire.AdaptAnswer) -> Table:
    """Show what adaptation did, one line a fact."""
    shown: dict[str, object] = {
        "task": answer.task_id,
        "revision": f"{answer.revision}{' (cached)' if answer.cached else ''}",
        "model": f"{answer.model}@{answer.model_version}",
        "steps": number(answer.steps) + ("" if answer.kept_step == answer.steps else f", kept {answer.kept_step}"),
        "support rows": f"{answer.support_size}{'' if answer.support_stored else ', not stored'}",
        "classes": _list(answer.classes),
        "support loss": _losses(answer.support_loss),
        "expires": moment(answer.expires_at),
        "compute": f"{answer.timing_ms.compute:.1f} ms of {answer.timing_ms.total:.1f} ms",
    }
    if answer.validation is not None:
        before, after = answer.validation.before, answer.validation.after
        shown["validation"] = f"{'–' if before is None else _score(before)} → {_score(after)}"
    if answer.estimate is not None:
        shown["estimate"] = _estimate(answer.estimate)
    if answer.familiarity is not None:
        shown["familiarity"] = f"{number(answer.familiarity.before)} → {number(answer.familiarity.after)}"
    return facts(shown)


def predictions(answer: wire.PredictAnswer, names: Sequence[str]) -> Listing:
    """Show one prediction a line; `names` name the rows."""
    if answer.labels is None:
        outputs = answer.outputs or []
        width = len(outputs[0]) if outputs else 1
        heads = ["output"] if width == 1 else [f"output {index}" for index in range(width)]
        return Listing(
            [Column("row"), *map(Column, heads)],
            [[name, *map(number, y)] for name, y in zip(names, outputs, strict=True)],
        )
    classes, probabilities = answer.classes or [], answer.probabilities or []
    if len(classes) <= _SHOWN_CLASSES:
        heads = [f"p({name})" for name in classes]
        cells = [list(map(number, p)) for p in probabilities]
    else:
        heads, cells = ["most probable"], [[_likeliest(classes, p)] for p in probabilities]
    rows: list[Sequence[object]] = [
        [name, label, *p] for name, label, p in zip(names, answer.labels, cells, strict=True)
    ]
    return Listing([Column("row"), Column("label"), *map(Column, heads)], rows)


def tasks(found: Iterable[wire.TaskInfo]) -> Listing:
    """Show one task a line."""
    columns = [
        Column("task"), Column("model"), Column("revision", 4), Column("rows", 3), Column("classes", 1),
        Column("size", 2), Column("updated", 5), Column("expires", 3),
    ]  # fmt: skip
    return Listing(columns, [_task_row(task) for task in found])


def task(found: wire.TaskInfo) -> Table:
    """Show one task, one line a fact."""
    return facts({**_fields(found), "classes": _list(found.classes), "bytes": size(found.bytes)})


def audit(found: Iterable[wire.AuditInfo]) -> Listing:
    """Show one thing that was done a line."""
    columns = [
        Column("at"), Column("action"), Column("task"), Column("revision", 3), Column("key", 1), Column("request", 2),
    ]  # fmt: skip
    rows = [[moment(one.at), one.action, one.task_id, one.revision, one.key_id, one.request_id] for one in found]
    return Listing(columns, rows)


def models(found: Iterable[wire.ModelInfo]) -> Listing:
    """Show one model a line, by its active version."""
    rows: list[Sequence[object]] = []
    for model in found:
        active = next((v for v in model.versions if v.version == model.active_version), None)
        described = ["–"] * 3 if active is None else [active.learner.kind, active.network.kind, active.output.kind]
        rows.append([model.name, model.active_version, len(model.versions), *described])
    columns = [Column("model"), Column("active"), Column("versions", 1), Column("learner", 4)]
    return Listing([*columns, Column("network", 2), Column("answers", 3)], rows)


def model(found: wire.ModelInfo) -> Listing:
    """Show the versions of a model, one a line; the active one is marked."""
    columns = [
        Column("version"), Column("learner", 6), Column("network", 4), Column("input", 3), Column("output", 5),
        Column("steps", 7), Column("size", 1), Column("created", 2),
    ]  # fmt: skip
    return Listing(columns, [_version_row(found, version) for version in found.versions])


def version(found: wire.ModelVersionInfo) -> Table:
    """Show one version of a model, one line a fact."""
    return facts(
        {
            "version": found.version,
            "learner": found.learner.kind,
            "network": found.network.kind,
            "input": f"{found.input.kind} {found.input.shape}",
            "output": f"{found.output.kind} {found.output.shape}",
            "steps": f"{number(found.default_steps)} of at most {number(found.max_steps)}",
            "size": size(found.bytes),
            "sha256": found.sha256,
            "created": moment(found.created_at),
        }
    )


def datasets(found: Iterable[wire.DatasetInfo]) -> Listing:
    """Show one data set a line."""
    columns = [
        Column("data set"), Column("kind", 6), Column("rows", 5), Column("classes", 3), Column("groups", 3),
        Column("input", 2), Column("output", 4), Column("size", 1), Column("created", 1),
    ]  # fmt: skip
    rows = [
        [
            one.name, one.kind, one.rows, one.classes, one.groups, f"{one.input.kind} {one.input.shape}",
            one.output.kind, size(one.bytes), moment(one.created_at),
        ]
        for one in found
    ]  # fmt: skip
    return Listing(columns, rows)


def dataset(found: wire.DatasetInfo) -> Table:
    """Show one data set, one line a fact."""
    split = found.split
    return facts(
        {
            **_fields(found),
            "input": f"{found.input.kind} {found.input.shape}",
            "output": f"{found.output.kind} {found.output.shape}",
            "input_names": _list(found.input_names),
            "target_names": _list(found.target_names),
            "split": f"by {split.by}: {split.train} to train, {split.validation} to validate, {split.test} to test",
            "bytes": size(found.bytes),
        }
    )


def jobs(found: Iterable[wire.JobInfo]) -> Listing:
    """Show one job a line."""
    columns = [
        Column("job"), Column("status"), Column("model", 5), Column("done", 4), Column("loss", 2),
        Column("validation", 3), Column("created", 1),
    ]  # fmt: skip
    return Listing(columns, [_job_row(job) for job in found])


def job(found: wire.JobInfo) -> Table:
    """Show one job, one line a fact."""
    progress = found.progress
    shown: dict[str, object] = {
        "job": found.job_id,
        "status": found.status,
        "model": _job_model(found),
        "iteration": f"{progress.iteration} of {progress.iterations}",
        "loss": number(progress.meta_loss),
        "validation loss": number(progress.validation_loss),
        "tasks a second": number(progress.tasks_per_second),
        "left": "–" if progress.eta_seconds is None else f"{progress.eta_seconds:.0f} s",
        "created": moment(found.created_at),
        "started": moment(found.started_at),
        "finished": moment(found.finished_at),
    }
    if progress.validation_accuracy is not None:
        shown["validation accuracy"] = number(progress.validation_accuracy)
    if found.error is not None:
        shown["error"] = f"{found.error.detail} ({found.error.code})"
    return facts(shown)


def _task_row(task: wire.TaskInfo) -> Sequence[object]:
    model, classes = f"{task.model}@{task.model_version}", _list(task.classes)
    fixed = task.task_id, model, task.revision, task.support_size, classes, size(task.bytes)
    return [*fixed, moment(task.updated_at), moment(task.expires_at)]


def _version_row(model: wire.ModelInfo, v: wire.ModelVersionInfo) -> Sequence[object]:
    return [
        f"{model.name}@{v.version}{' (active)' if v.version == model.active_version else ''}",
        v.learner.kind,
        v.network.kind,
        f"{v.input.kind} {v.input.shape}",
        f"{v.output.kind} {v.output.shape}",
        f"{number(v.default_steps)} of {number(v.max_steps)}",
        size(v.bytes),
        moment(v.created_at),
    ]


def _job_row(job: wire.JobInfo) -> Sequence[object]:
    progress = job.progress
    done = f"{100 * progress.iteration // max(progress.iterations, 1)} %"
    losses = number(progress.meta_loss), number(progress.validation_loss)
    return [job.job_id, job.status, _job_model(job), done, *losses, moment(job.created_at)]


def _job_model(job: wire.JobInfo) -> str:
    return job.name if job.model_version is None else f"{job.name}@{job.model_version}"


def _fields(found: wire.TaskInfo | wire.DatasetInfo) -> dict[str, object]:
    return {name: cell(value) for name, value in found}


def _losses(losses: Sequence[float | None]) -> str:
    shown = [number(loss) for loss in losses]
    if len(shown) > _SHOWN_LOSSES:
        shown = [*shown[: _SHOWN_LOSSES - 2], "…", shown[-1]]
    return " → ".join(shown)


def _likeliest(classes: Sequence[object], probabilities: Sequence[float]) -> str:
    ranked = sorted(zip(probabilities, classes, strict=True), key=lambda pair: -pair[0])
    return ", ".join(f"{name} {number(p)}" for p, name in ranked[:_LIKELIEST])


def _list(names: Sequence[object] | None) -> str:
    return "–" if names is None else ", ".join(map(str, names))


def _estimate(found: wire.Estimate) -> str:
    worth = f"error {number(found.error)}" if found.accuracy is None else f"accuracy {number(found.accuracy)}"
    how = "leaving out one at a time" if found.method == "leave_one_out" else f"in {found.folds} folds"
    return f"{worth}, loss {number(found.loss)}, by {found.rows} rows {how}"


def _score(score: wire.Score) -> str:
    accuracy = "" if score.accuracy is None else f", accuracy {number(score.accuracy)}"
    return f"loss {number(score.loss)}{accuracy}"
