"""Small models and tasks for the tests of compiled paths."""

from typing import Any

import torch

from app.card import ANY_WAYS, Card, InputCard, OutputCard
from app.engine.buckets import shapes_of
from app.engine.compiled import CompiledPaths
from app.engine.compiled_spec import Sizes, Spec, architecture_of, kinds_of_layout, layout_of
from app.engine.executor import AdaptWork
from app.episode import Support
from app.learners.model import Model, learner_of
from app.programs.folder import ProgramFolder

STEPS = 2
ROWS, CLASSES = 6, 3
LEARNERS: dict[str, dict[str, Any]] = {
    "maml of numbers": {"kind": "maml", "steps": STEPS, "learning_rate": 0.05},
    "maml": {"kind": "maml", "steps": STEPS, "learning_rate": 0.05},
    "anil": {"kind": "anil", "steps": STEPS, "learning_rate": 0.05},
    "meta_sgd": {"kind": "meta_sgd", "steps": STEPS},
    "mamlpp": {"kind": "mamlpp", "steps": STEPS},
    "protomaml": {"kind": "protomaml", "steps": STEPS},
    "prototypical": {"kind": "prototypical"},
    "matching": {"kind": "matching"},
    "kernel": {"kind": "kernel"},
    "ridge": {"kind": "ridge"},
    "ridge of numbers": {"kind": "ridge"},
    "mann": {"kind": "mann", "slots": 8, "reads": 1},
}
FIXED_WAYS = ("maml", "anil", "meta_sgd", "mamlpp", "mann")


def model_of(name: str, seed: int = 0, network: dict[str, Any] | None = None, **fields: Any) -> Model:
    learner, numbers = LEARNERS[name], name.endswith("of numbers")
    card = Card(
        name=name,
        learner=learner,
        network=network or {"kind": "mlp", "hidden": [8]},
        loss="squared" if numbers else "cross_entropy",
        input=InputCard(kind="vector", shape=(2,)),
        output=OutputCard(
            kind="regression" if numbers else "classification",
            shape=(1 if numbers else CLASSES if name in FIXED_WAYS else ANY_WAYS,),
        ),
        num_train_classes=0 if numbers else 9,
        default_steps=STEPS if "steps" in learner else None,
        max_steps=50 if "steps" in learner else None,
    ).model_copy(update=fields)
    made = learner_of(card)
    return Model(card, made, made.init(torch.Generator().manual_seed(seed)))


def support_of(model: Model, seed: int, num_rows: int = ROWS) -> Support:
    inputs = torch.randn(num_rows, *model.card.input.shape, generator=torch.Generator().manual_seed(seed))
    row_mask = torch.ones(num_rows, dtype=torch.bool)
    if model.card.output.kind == "regression":
        return Support(inputs, inputs.flatten(1).sum(1, keepdim=True), row_mask, torch.zeros(0, dtype=torch.bool))
    class_mask = torch.ones(CLASSES, dtype=torch.bool)
    return Support(inputs, torch.arange(num_rows) % CLASSES, row_mask, class_mask)


def works_of(model: Model, num_tasks: int, num_rows: int = ROWS) -> list[AdaptWork]:
    steps = STEPS if model.learner.traits.takes_steps else 0
    return [AdaptWork(model, support_of(model, seed, num_rows), steps) for seed in range(num_tasks)]


def spec_of(model: Model, work: str) -> Spec:
    """The program that tasks of `works_of` need."""
    steps = STEPS if model.learner.traits.takes_steps else 0
    classes = 0 if model.card.output.kind == "regression" else CLASSES
    architecture = architecture_of(model)
    adapt = Spec(architecture=architecture, sizes=Sizes("adapt", steps, ROWS, classes), threads=1)
    if work == "adapt":
        return adapt
    if work == "estimate":
        of_folds = (ROWS, 1) if not classes else (ROWS // CLASSES, CLASSES)
        return adapt.model_copy(update={"sizes": Sizes("estimate", steps, ROWS, classes, *of_folds)})
    leaves = kinds_of_layout(layout_of(adapt, model))
    return adapt.model_copy(update={"sizes": Sizes("predict", rows=2, leaves=leaves)})


def paths_over(folder: ProgramFolder, **options: Any) -> CompiledPaths:
    return CompiledPaths(folder, **{"hot_batches": 2, **options})


def load(paths: CompiledPaths, model: Model) -> int:
    return paths.load(model, shapes_of(model))
