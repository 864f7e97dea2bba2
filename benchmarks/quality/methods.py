"""Requests by data set and method: all that is particular to a row of the table, as data.

None of these numbers was chosen by looking at held-out test tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Options = Mapping[str, Any]


class Method(NamedTuple):
    """How one method is trained on one data set."""

    request: Options
    """As POST /meta-train takes it, but for its name, its iterations and when it validates."""
    training: Sequence[Options] = ()
    """Over the request's tasks, in training: each meta-batch is drawn from one of these. None: the request's own."""
    scales: Sequence[float] = (1.0,)
    """Multiples of the inner rate that validation tasks choose from, for each cell."""
    steps: Sequence[int] = ()
    """Numbers of steps that they choose from; none: those of training, where rates are learned and else also
    STEPS_TRIED."""
    most_iterations: int | None = None
    """Fewer than the budget has room for, where what is learned is little and more of it forgets."""


STEPS_TRIED = (1, 3, 5, 10)
FINE_TUNING_SCALES = tuple(4.0**power for power in range(-2, 4))
FINE_TUNING_STEPS = (5, 20)

_SINUSOID: Options = {
    "network": {"kind": "mlp", "hidden": [40, 40]},
    "tasks": {"kind": "sinusoid", "shots": 10, "queries": 10},
    "meta_batch_size": 25,
    "meta_learning_rate": 0.002,
    "clip_norm": 10.0,
}
_SMOOTH: Options = {
    "network": {"kind": "mlp", "hidden": [64, 64, 64], "activation": "tanh"},
    "meta_batch_size": 50,
    "meta_learning_rate": 0.01,
    "clip_norm": 1.0,
}
"""As models/requests/sinusoid-ridge-10shot.json: what a head that is solved for gets most of."""
_FEW_POINTS = [{"shots": shots} for shots in range(5, 11)]
"""One training serves both cells."""

_OMNIGLOT: Options = {
    "network": {"kind": "conv4", "filters": 64, "rare_tone_is_ink": True},
    "tasks": {
        "kind": "labelled",
        "dataset": "omniglot",
        "ways": 20,
        "shots": [1, 5],
        "queries": 5,
        "rotations": True,
        "distortion": 0.15,
    },
    "meta_batch_size": 1,
    "meta_learning_rate": 0.002,
    "clip_norm": 10.0,
}
_MANY_CHARACTERS = [{"training_ways": 60}]
"""Snell et al. 2017 train with as many, for every cell."""
_FEW_CHARACTERS = [{"training_ways": [5, 20]}]
"""Where an episode costs steps on all weights, or the head has a row a class."""

_INTENTS: Options = {
    "network": {"kind": "embedding", "encoder": "all-MiniLM-L6-v2"},
    "tasks": {
        "kind": "labelled",
        "dataset": "intents",
        "ways": 20,
        "shots": [1, 5],
        "queries": 10,
        "scaling": False,
    },
    "meta_batch_size": 4,
    "meta_learning_rate": 0.001,
    "clip_norm": 10.0,
}
_INTENT_WAYS = [{"training_ways": [5, 30]}]
"""Two domains of 15 intents are what there is to train on."""

_PATIENTS: Options = {
    "network": {"kind": "mlp", "hidden": [32], "columns": [2]},
    "tasks": {"kind": "grouped", "dataset": "parkinsons", "shots": [3, 25], "queries": 30, "order": "first"},
    "meta_batch_size": 16,
    "meta_learning_rate": 0.01,
    "clip_norm": 1.0,
}


def _learner(kind: str, **options: Any) -> Options:
    return {"kind": kind, **options}


def _fine_tuned(base: Options, training: Sequence[Options], rate: float) -> Method:
    request = {**base, "learner": _learner("pretrained", steps=5, learning_rate=rate)}
    return Method(request, training, FINE_TUNING_SCALES, FINE_TUNING_STEPS)


def _methods(base: Options, training: Sequence[Options], learners: Mapping[str, Options]) -> dict[str, Method]:
    return {name: Method({**base, "learner": learner}, training) for name, learner in learners.items()}


METHODS: Mapping[str, Mapping[str, Method]] = {
    "sinusoid": {
        **_methods(
            _SINUSOID,
            _FEW_POINTS,
            {
                "maml": _learner("maml", steps=1, learning_rate=0.01),
                "fomaml": _learner("fomaml", steps=1, learning_rate=0.01),
                "reptile": _learner("reptile", steps=5, learning_rate=0.02),
                "meta_sgd": _learner("meta_sgd", steps=1, learning_rate=0.01),
                "mamlpp": _learner("mamlpp", steps=5, learning_rate=0.01),
                "anil": _learner("anil", steps=5, learning_rate=0.05),
                "boil": _learner("boil", steps=5, learning_rate=0.01),
                "ridge": _learner("ridge"),
                "mann": _learner("mann"),
            },
        ),
        **_methods(
            {**_SINUSOID, **_SMOOTH},
            _FEW_POINTS,
            {"ridge-smooth": _learner("ridge", strength=0.1), "kernel": _learner("kernel", strength=0.1)},
        ),
        "pretrained": _fine_tuned(_SINUSOID, _FEW_POINTS, 0.01),
    },
    "omniglot": {
        **_methods(
            _OMNIGLOT,
            _FEW_CHARACTERS,
            {
                "maml": _learner("maml", steps=3, learning_rate=0.1),
                "fomaml": _learner("fomaml", steps=3, learning_rate=0.1),
                "reptile": _learner("reptile", steps=5, learning_rate=0.05),
                "meta_sgd": _learner("meta_sgd", steps=1, learning_rate=0.1),
                "mamlpp": _learner("mamlpp", steps=3, learning_rate=0.1),
                "anil": _learner("anil", steps=5, learning_rate=0.1),
                "boil": _learner("boil", steps=1, learning_rate=0.1),
                "protomaml": _learner("protomaml", steps=3, learning_rate=0.01),
                "unicorn": _learner("unicorn", steps=5, learning_rate=0.05),
                "mann": _learner("mann"),
            },
        ),
        **_methods(
            _OMNIGLOT,
            _MANY_CHARACTERS,
            {
                "anil-means": _learner("anil", steps=3, learning_rate=0.1, head="class_means"),
                "prototypical": _learner("prototypical"),
                "prototypical-pairs": _learner("prototypical", objective="pairs"),
                "matching": _learner("matching"),
                "ridge": _learner("ridge"),
                "kernel": _learner("kernel"),
            },
        ),
        "pretrained": _fine_tuned(_OMNIGLOT, _MANY_CHARACTERS, 0.02),
    },
    "intents": {
        **_methods(
            _INTENTS,
            _INTENT_WAYS,
            {
                "maml": _learner("maml", steps=5, learning_rate=0.05),
                "fomaml": _learner("fomaml", steps=5, learning_rate=0.05),
                "reptile": _learner("reptile", steps=5, learning_rate=0.05),
                "meta_sgd": _learner("meta_sgd", steps=1, learning_rate=0.1),
                "mamlpp": _learner("mamlpp", steps=5, learning_rate=0.05),
                "anil": _learner("anil", steps=5, learning_rate=0.05),
                "boil": _learner("boil", steps=1, learning_rate=0.01),
                "anil-means": _learner("anil", steps=3, learning_rate=0.01, head="class_means"),
                "protomaml": _learner("protomaml", steps=3, learning_rate=0.001),
                "unicorn": _learner("unicorn", steps=5, learning_rate=0.05),
                "prototypical": _learner("prototypical"),
                "matching": _learner("matching"),
                "ridge": _learner("ridge"),
                "kernel": _learner("kernel"),
                "mann": _learner("mann"),
            },
        ),
        "kernel-branch": Method(
            {
                **_INTENTS,
                "learner": _learner("kernel", objective="pairs"),
                "network": {**_INTENTS["network"], "branch": 128, "branch_share": 0.1},
                "meta_batch_size": 1,
                "meta_learning_rate": 0.003,
            },
            [{"training_ways": 30, "queries": 5}],
            most_iterations=100,  # as models/requests/intents.json
        ),
        "robust": Method(
            {
                **_INTENTS,
                "learner": _learner("anil", steps=3, learning_rate=0.01, head="class_means", row_weights="learned"),
            },
            [{"training_ways": [5, 30], "label_noise": noise} for noise in (0.0, 0.15, 0.3)],
        ),
        "pretrained": _fine_tuned(_INTENTS, _INTENT_WAYS, 0.05),
    },
    "patients": {
        **_methods(
            _PATIENTS,
            (),
            {
                "maml": _learner("maml", steps=5, learning_rate=0.01, head="fitted_intercept"),
                "fomaml": _learner("fomaml", steps=5, learning_rate=0.01, head="fitted_intercept"),
                "reptile": _learner("reptile", steps=5, learning_rate=0.01),
                "meta_sgd": _learner("meta_sgd", steps=1, learning_rate=0.01, head="fitted_intercept"),
                "mamlpp": _learner("mamlpp", steps=5, learning_rate=0.01, head="fitted_intercept"),
                "anil": _learner("anil", steps=5, learning_rate=0.5, head="fitted_intercept", normalised=True),
                "boil": _learner("boil", steps=5, learning_rate=0.01),
                "ridge": _learner("ridge"),
                "mann": _learner("mann"),
            },
        ),
        "pretrained": _fine_tuned(_PATIENTS, (), 0.01),
    },
}

NAMES = {
    "anil-means": "anil, head of class means",
    "robust": "anil, class means, learned row weights",
    "prototypical-pairs": "prototypical, loss of all pairs",
    "ridge-smooth": "ridge, mlp 64-64-64 of tanh",
    "kernel-branch": "kernel, with a learned branch",
    "pretrained": "pre-trained, fine-tuned",
}
"""What the page calls a method, where that is not its kind."""

SHIPPED: Mapping[str, Sequence[str]] = {
    "sinusoid": ("sinusoid",),
    "omniglot": ("omniglot", "omniglot-5way"),
    "intents": ("intents",),
    "patients": ("telemonitoring",),
}
"""Models in models/, by comparison."""
