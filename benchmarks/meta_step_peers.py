"""Second-order meta-steps against other libraries: the sinusoid, and conv4 on pictures of Omniglot's size.

`make peers` installs the peers in an environment of their own; `--peers-python PATH` names another one. Each peer is a
process of its own, given the same weights, the same tasks and the same number of threads, and has its turn in each
round. First all have to give the same gradient.

Ours is what a training takes: the compiled step, and the eager one, in a process that keeps its memory as a training
does (`app.training.memory`).
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.card import Card, InputCard, OutputCard
from app.episode import Episode, MetaParams, Query, Support, Tree
from app.learners.model import learner_of
from app.task_distributions.sinusoid import SinusoidOptions, sinusoid
from app.training.memory import keep_memory
from app.training.meta_step import meta_gradient
from app.training.step_compiler import StepCompiler
from app.training.step_program import CompiledStep
from benchmarks.peers.given import Given, write_given
from benchmarks.results import ROOT, Figure, show
from benchmarks.speed_parts.targets import TARGETS

COMMAND = "python -m benchmarks.meta_step_peers"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
THREADS, TOLERANCE = 2, 1e-4
TORCH_PEERS = ("dict", "functional_call", "higher", "torchopt", "learn2learn")
LIBRARIES = ("higher", "torchopt", "learn2learn")
COMPILED, EAGER = "ours, compiled", "ours, eager"

Milliseconds = dict[str, float]
Turn = Callable[[int], float]
"""(calls) -> milliseconds of one."""


@dataclass(frozen=True)
class Case:
    """A meta-step, and how it is measured."""

    name: str
    card: Card
    episodes: Episode
    rate: float
    peers: tuple[str, ...]
    calls: int
    """In one turn, as training makes them."""
    rounds: int


def main(arguments: Sequence[str] = ()) -> list[Figure]:
    """Measure all cases, and print and return the figures of the best ratio to each kind of peer."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Measure meta-steps against other libraries.")
    parser.add_argument("--peers-python", type=Path, default=PEERS_PYTHON, help="interpreter of the peers")
    parser.add_argument("--case", action="append", choices=CASES, help="repeatable; all if absent")
    asked = parser.parse_args(arguments)
    if not asked.peers_python.exists():
        print(f"left out: {asked.peers_python} is not here (`make peers` makes it)")
        return []
    torch.set_num_threads(THREADS)
    keep_memory()
    found = {name: measured(CASES[name](), asked.peers_python) for name in asked.case or CASES}
    return show([figure for name, times in found.items() for figure in figures_of(name, times)])


def figures_of(name: str, times: Milliseconds) -> list[Figure]:
    """Return the ratios of a case to its peers."""
    if name != "sinusoid":
        return [ratio(f"meta-step-{name}", times, least_of(times, TORCH_PEERS))]
    return [
        ratio("meta-step-loop", times, "dict"),
        ratio("meta-step-torch", times, least_of(times, LIBRARIES)),
        ratio("meta-step-jax", times, "jax"),
    ]


def ratio(target: str, times: Milliseconds, peer: str) -> Figure:
    """Return how many times as long as ours a peer takes."""
    shown = f"{peer} {times[peer]:.3g} ms, ours {times[COMPILED]:.3g} ms, eager {times[EAGER]:.3g} ms"
    return TARGETS[target].figure(times[peer] / times[COMPILED], shown, COMMAND)


def least_of(times: Milliseconds, peers: Sequence[str]) -> str:
    """Return which of these peers is fastest."""
    return min(peers, key=lambda name: times[name])


def measured(case: Case, python: Path) -> Milliseconds:
    """Return the median milliseconds of all that take part, after all gave the same gradient."""
    learner = learner_of(case.card)
    generator = torch.Generator().manual_seed(0)
    meta, progress = learner.init(generator), torch.zeros(())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "case.npz"
        write_given(given_of(case, meta), file)
        compiled = stack.enter_context(compiled_step(case, meta, Path(folder)))
        works: dict[str, Callable[[], Tree]] = {
            COMPILED: lambda: compiled.gradient(meta, case.episodes, progress)[0],
            EAGER: lambda: meta_gradient(learner, meta, case.episodes, learner.traits.steps, progress)[0],
        }
        turns = {name: turn_of(work) for name, work in works.items()}
        wanted = [leaf.numpy() for leaf in works[EAGER]().values()]
        check(COMPILED, [leaf.numpy() for leaf in works[COMPILED]().values()], wanted)
        for name in case.peers:
            peer = stack.enter_context(Peer(python, name, file))
            check(name, peer.gradient, wanted)
            turns[name] = peer.turn
        times = in_turn(turns, case.calls, case.rounds)
    print(f"{case.name}: " + ", ".join(f"{name} {ms:.3g} ms" for name, ms in times.items()), flush=True)
    return times


def in_turn(turns: dict[str, Turn], calls: int, rounds: int) -> Milliseconds:
    """Return the median of each; the first round counts for nothing."""
    taken: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(1 + rounds):
        for name, turn in turns.items():
            taken[name].append(turn(calls))
    return {name: statistics.median(each[1:]) for name, each in taken.items()}


def check(name: str, gradient: list[NDArray[np.float32]], wanted: list[NDArray[np.float32]]) -> None:
    """Stop where somebody computes something else."""
    worst = max(float(np.abs(leaf - other).max()) for leaf, other in zip(gradient, wanted, strict=True))
    assert worst < TOLERANCE, f"{name}: its gradient differs by {worst}"


def turn_of(work: Callable[[], Tree]) -> Turn:
    """Return turns of a function of ours."""

    def turn(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return (time.perf_counter() - start) * 1e3 / calls

    return turn


class Peer:
    """A peer's process."""

    def __init__(self, python: Path, name: str, file: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        command = [str(python), "-W", "ignore", "-m", "benchmarks.peers.peer", name, str(file), str(THREADS)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True
        )
        self.gradient = [np.array(leaf, dtype=np.float32) for leaf in json.loads(self._line())]

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def turn(self, calls: int) -> float:
        """Return the milliseconds of one of so many calls."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"a peer ended with status {self._process.wait()}"
        return line


@contextmanager
def compiled_step(case: Case, meta: MetaParams, folder: Path) -> Iterator[CompiledStep]:
    """Compile a case's step as a training does."""
    start = time.monotonic()
    compiling = StepCompiler(case.card, folder).start(meta, case.episodes, learner_of(case.card).traits.steps)
    step = None
    while step is None:
        step = compiling.result(1.0)
    print(f"{case.name}: compiled in {time.monotonic() - start:.0f} s", flush=True)
    yield step
    step.close()


def given_of(case: Case, meta: MetaParams) -> Given:
    """Return what peers are given."""
    support, query, _ = case.episodes
    leaves = {name: leaf.numpy() for name, leaf in meta.trained.items()}
    rows = (support.inputs, support.targets, query.inputs, query.targets)
    inputs, targets, query_inputs, query_targets = (np.ascontiguousarray(leaf.numpy()) for leaf in rows)
    return Given(leaves, inputs, targets, query_inputs, query_targets, case.rate)


def sinusoids() -> Case:
    """Return 25 tasks of 10 rows, an MLP 1-40-40-1, as Finn et al. 2017, section 5.1."""
    rate = 0.01
    card = Card(
        name="sinusoid",
        learner={"kind": "maml", "steps": 1, "learning_rate": rate},
        network={"kind": "mlp", "hidden": [40, 40]},
        loss="squared",
        input=InputCard(kind="vector", shape=(1,)),
        output=OutputCard(kind="regression", shape=(1,)),
        num_train_classes=0,
        default_steps=1,
        max_steps=1,
    )
    episodes = sinusoid(SinusoidOptions()).sample(torch.Generator().manual_seed(1), 25)
    return Case("sinusoid", card, episodes, rate, (*TORCH_PEERS, "jax"), calls=20, rounds=30)


def pictures(num_queries: int) -> Case:
    """Return 16 tasks of 5 classes, one support picture each, conv4 with 64 filters and group norm."""
    rate, num_tasks, ways = 0.4, 16, 5
    card = Card(
        name="conv4",
        learner={"kind": "maml", "steps": 1, "learning_rate": rate},
        network={"kind": "conv4", "filters": 64, "groups": 8},
        loss="cross_entropy",
        input=InputCard(kind="image", shape=(1, 28, 28)),
        output=OutputCard(kind="classification", shape=(ways,)),
        num_train_classes=ways,
        default_steps=1,
        max_steps=1,
    )
    generator = torch.Generator().manual_seed(1)

    def rows(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        drawn = torch.rand(num_tasks, number, 1, 28, 28, generator=generator) < 0.1  # a tenth of a character is ink
        targets = torch.arange(ways).repeat(num_tasks, number // ways)
        return drawn.float(), targets, torch.ones(num_tasks, number, dtype=torch.bool)

    support = Support(*rows(ways), torch.ones(num_tasks, ways, dtype=torch.bool))
    episodes = Episode(support, Query(*rows(num_queries)), torch.arange(ways).repeat(num_tasks, 1))
    return Case(f"conv4-{num_queries}", card, episodes, rate, TORCH_PEERS, calls=1, rounds=9)


CASES: dict[str, Callable[[], Case]] = {
    "sinusoid": sinusoids,
    "conv4-5": lambda: pictures(5),
    "conv4-75": lambda: pictures(75),
}

if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
