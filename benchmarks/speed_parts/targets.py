"""The figures to reach, on two cores: what each is called, its limit, and the part that measures it."""

from typing import NamedTuple

from benchmarks.results import Figure, Section


class Target(NamedTuple):
    """A ratio and what it is to be."""

    part: str
    what: str
    limit: float
    at_least: bool = False
    words: str = ""
    """What stands in the table for the limit; "≤ limit" or "≥ limit" where empty."""

    @property
    def shown(self) -> str:
        """The limit as the table has it."""
        return self.words or f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def figure(self, value: float, detail: str, command: str) -> Figure:
        """Return the figure of a measured ratio; `detail` says what it was made of."""
        met = value >= self.limit if self.at_least else value <= self.limit
        return Figure(self.what, f"{value:.3g} ({detail})" if detail else f"{value:.3g}", self.shown, met, command)


ADAPTS, PREDICTS, IDLE, LARGE, MEMORY, META_STEPS = "adapts", "predicts", "idle", "large-bodies", "memory", "meta-steps"
STAGES = "stages"

SINUSOID = "second-order meta-step, sinusoid, 25 tasks, against "
CONV4 = "second-order meta-step, Conv4-64, 16 tasks, against the best PyTorch peer, "
TARGETS: dict[str, Target] = {
    "meta-step-loop": Target(META_STEPS, SINUSOID + "the loop with parameters in a dict", 30, at_least=True),
    "meta-step-torch": Target(META_STEPS, SINUSOID + "the best PyTorch library", 30, at_least=True),
    "meta-step-jax": Target(META_STEPS, SINUSOID + "JAX jit(vmap(grad))", 1.2, at_least=True),
    "meta-step-conv4-5": Target(META_STEPS, CONV4 + "5 query pictures", 2.5, at_least=True),
    "meta-step-conv4-75": Target(META_STEPS, CONV4 + "75 query pictures", 1.3, at_least=True),
    "adapts-naive": Target(ADAPTS, "adapts a second, 64 callers, over the faster naive app", 6, at_least=True),
    "adapts-empty": Target(ADAPTS, "the same as a share of the empty endpoint", 0.4, at_least=True),
    "adapts-tail": Target(ADAPTS, "p99 over p50 of the same", 4),
    "adapts-curve": Target(
        ADAPTS,
        "adapts a second by callers, each over the most of fewer callers: the least",
        0.95,
        at_least=True,
        words="never falls (≥ 0.95, for noise)",
    ),
    "predicts-uniform": Target(
        PREDICTS, "predicts a second, 64 callers, uniform, as a share of the empty endpoint", 0.3, at_least=True
    ),
    "predicts-skewed": Target(PREDICTS, "the same, skewed (Zipf 1.1)", 0.6, at_least=True),
    "predicts-uniform-tail": Target(PREDICTS, "p99 over p50, uniform", 4),
    "predicts-skewed-tail": Target(PREDICTS, "p99 over p50, skewed", 4),
    "predict-uniform-p50": Target(PREDICTS, "predict, one caller: p50 of uniform over 10 000 against one task", 3),
    "predict-skewed-p50": Target(PREDICTS, "predict, one caller: p50 of skewed against one task", 1.2),
    "idle-compiled": Target(IDLE, "idle /adapt p50 over bare autograd plus the empty endpoint, compiled", 1.5),
    "idle-eager": Target(IDLE, "idle /adapt p50 over bare autograd plus the empty endpoint, eager", 3.5),
    "binary-10000": Target(LARGE, "10 000 floats, binary, against an endpoint that reads the bytes", 1.3),
    "binary-1000000": Target(LARGE, "1 000 000 floats, binary, against an endpoint that reads the bytes", 1.3),
    "json-10000": Target(LARGE, "reading 10 000 floats of JSON against orjson and np.asarray", 1.5),
    "json-1000000": Target(LARGE, "reading 1 000 000 floats of JSON against orjson and np.asarray", 1.5),
    "memory": Target(
        MEMORY,
        "memory for a cached task, less 1 KB, over the bytes of its tensors",
        1.15,
        words="≤ 1.15 and 1 KB",
    ),
}
TITLES = {
    META_STEPS: "Speed: meta-steps",
    ADAPTS: "Speed: adapts, 64 callers, distinct new tasks, durable when answered",
    PREDICTS: "Speed: predicts, one row each, 10 000 stored tasks, a cache of 1 000",
    IDLE: "Speed: one caller",
    LARGE: "Speed: large bodies",
    MEMORY: "Speed: memory of a cached task",
}


def sections() -> list[Section]:
    """Return the page's sections of speed, in the order of the table."""
    return [
        Section(part, title, tuple((target.what, target.shown) for target in TARGETS.values() if target.part == part))
        for part, title in TITLES.items()
    ]
