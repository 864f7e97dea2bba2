"""Runs whose steps become compiled ones; on a machine without a C++ compiler they stay eager, and that is tested."""

import contextlib
import shutil
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.card import Card, InputCard, OutputCard
from app.episode import Episode
from app.programs.folder import ProgramFolder
from app.programs.process import GivesUp, has_compiler
from app.programs.shared_library import Library
from app.task_distributions.distribution import Distribution
from app.training.run import Progress, train
from app.training.state import RunState, state_bytes, state_of
from app.training.step_compiler import StepCompiler
from app.training.step_spec import StepSpec, examples_of
from tests.training.small_runs import CPU, PLAN, SINUSOIDS, equal, sinusoid_learner

SWITCH = 13
COMPILED = replace(PLAN, compiled_from=SWITCH)
CARD = Card(
    name="waves",
    learner={"kind": "maml"},
    network={"kind": "mlp"},
    loss="squared",
    input=InputCard(kind="vector", shape=(1,)),
    output=OutputCard(kind="regression", shape=(1,)),
    num_train_classes=0,
    default_steps=1,
    max_steps=1,
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the step of these runs is compiled once."""
    folder = tmp_path_factory.mktemp("programs")
    list(told(folder))
    return folder


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.so"))


def told(
    folder: Path | None, start: RunState | None = None, training: Distribution = SINUSOIDS
) -> Generator[tuple[Progress, RunState]]:
    """Yield what a run tells of its iterations; not what it tells while it waits."""
    compiler = StepCompiler(CARD, folder) if folder else None
    last = start.iteration if start else 0
    for progress in train(COMPILED, sinusoid_learner(), training, SINUSOIDS, CPU, start, compiler):
        if progress.iteration > last:
            yield progress, progress.state()
        last = progress.iteration


def end_of(folder: Path | None, start: RunState | None = None, training: Distribution = SINUSOIDS) -> RunState:
    *_, (_, state) = told(folder, start, training)
    return state


def state_after(folder: Path | None, iteration: int) -> RunState:
    with contextlib.closing(told(folder)) as run:
        return state_of(next(state_bytes(state) for progress, state in run if progress.iteration == iteration))


def test_steps_are_compiled_from_the_planned_iteration_on_where_a_compiler_is(programs: Path) -> None:
    states = [state for _, state in told(programs)]
    steps = [state.compiled_steps for state in states]
    if has_compiler():
        assert steps == [max(0, i - SWITCH + 1) for i in range(1, PLAN.iterations + 1)]
        assert [state.compiled for state in states] == [None] * (SWITCH - 1) + [True] * (PLAN.iterations - SWITCH + 1)
    else:
        assert steps == [0] * PLAN.iterations
        assert states[-1].compiled is False


def test_compiled_steps_end_near_the_weights_of_eager_ones(programs: Path) -> None:
    compiled, eager = end_of(programs).meta, end_of(None).meta
    assert equal(compiled, eager) != has_compiler()
    for name, leaf in eager.trained.items():
        torch.testing.assert_close(compiled.trained[name], leaf, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("iteration", [1, SWITCH - 1, SWITCH, 33])
def test_run_that_goes_on_before_or_after_the_switch_ends_with_the_very_state(programs: Path, iteration: int) -> None:
    assert state_bytes(end_of(programs, state_after(programs, iteration))) == state_bytes(end_of(programs))


def test_what_was_compiled_is_taken_again_without_a_compiler(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = libraries(programs)
    assert len(made) == has_compiler()
    wanted = state_bytes(end_of(programs))
    monkeypatch.setenv("PATH", "")
    assert state_bytes(end_of(programs)) == wanted
    assert libraries(programs) == made


def test_without_a_compiler_every_step_is_eager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "")
    compiler = StepCompiler(CARD, tmp_path, reasons.append)
    *_, last = train(COMPILED, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU, compiler=compiler)
    assert (last.state().compiled, last.state().compiled_steps) == (False, 0)
    assert equal(last.state().meta, end_of(None).meta)
    assert len(reasons) == 1
    assert "compiler" in reasons[0]


def test_run_that_gave_up_compiling_stays_eager(programs: Path) -> None:
    gave_up = replace(state_after(programs, 5), compiled=False)
    assert end_of(programs, gave_up).compiled_steps == 0


def test_compiled_run_goes_on_eagerly_where_nothing_can_be_compiled(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = state_after(programs, 20)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "")
    end = end_of(tmp_path, start)
    assert (end.compiled, end.compiled_steps, end.iteration) == (False, start.compiled_steps, PLAN.iterations)


def test_meta_batches_of_another_shape_are_taken_eagerly(programs: Path) -> None:
    drawn = 0

    def sample(generator: torch.Generator, num_tasks: int) -> Episode:
        nonlocal drawn
        drawn += 1
        return SINUSOIDS.sample(generator, num_tasks - drawn % 2 + 1)  # the first is what is compiled for

    end = end_of(programs, training=SINUSOIDS._replace(sample=sample))
    assert end.compiled_steps == (14 if has_compiler() else 0)


def test_damaged_program_is_not_called_and_compiled_anew(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, made = libraries(programs), 0

    def compile_anew(spec: bytes, library: Path, gives_up: GivesUp) -> None:
        nonlocal made
        made += 1
        shutil.copy(whole[0], library)  # what follows the library in a file does not hurt

    for library in whole:
        (tmp_path / library.name).write_bytes(library.read_bytes()[:-1])
    monkeypatch.setattr("app.training.step_compiler.compile_in_child", compile_anew)
    assert state_bytes(end_of(tmp_path)) == state_bytes(end_of(programs))
    assert (made, len(libraries(tmp_path))) == (len(whole), len(whole))


def test_calls_at_the_same_time_give_what_one_alone_gives(programs: Path) -> None:
    for path in libraries(programs):
        spec = StepSpec.model_validate_json(ProgramFolder(programs).specs()[path.stem])
        inputs = [torch.rand_like(example) if example.is_floating_point() else example for example in examples_of(spec)]
        alone = Library(path, len(inputs))(inputs)
        shared = Library(path, len(inputs), calls_at_once=2)
        with ThreadPoolExecutor(2) as pool:
            for outputs in pool.map(shared, [inputs] * 20):
                assert all(map(torch.equal, outputs, alone))


def test_program_that_computes_something_else_is_not_taken(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in libraries(programs):
        shutil.copy(library, tmp_path / "second-order.so")
    monkeypatch.setattr(StepSpec, "key", lambda self: "second-order")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "")
    reasons: list[str] = []
    learner = sinusoid_learner(first_order=True)
    compiler = StepCompiler(CARD, tmp_path, reasons.append)
    *_, last = train(COMPILED, learner, SINUSOIDS, SINUSOIDS, CPU, compiler=compiler)
    assert (last.state().compiled, last.state().compiled_steps) == (False, 0)
    assert ("differs" if libraries(programs) else "no C++ compiler") in reasons[0]


def test_run_tells_where_it_stands_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ends what it waits for with itself."""
    monkeypatch.setattr("app.training.step_compiler.has_compiler", lambda: True)
    run = train(COMPILED, sinusoid_learner(), SINUSOIDS, SINUSOIDS, CPU, compiler=StepCompiler(CARD, tmp_path))
    with contextlib.closing(run):
        seen = [next(run) for _ in range(SWITCH + 2)]
        assert [progress.iteration for progress in seen[-3:]] == [SWITCH - 1] * 3
        assert seen[-1].state().iteration == SWITCH - 1
        assert not any(progress.validation for progress in seen)
    assert not [*libraries(tmp_path), *tmp_path.glob("work-*")]
