import pytest
import torch

from app.card import Card, InputCard, OutputCard
from app.learners.model import as_tree, from_tree, learner_of
from app.trees import from_bytes, to_bytes
from tests.learners.answers import answer, equal_to_the_bit
from tests.learners.cases import Case, every_case
from tests.learners.toys import NUM_TRAIN_CLASSES


def card_of(case: Case) -> Card:
    kind = "image" if len(case.toy.input_shape) == 3 else "vector"
    return Card(
        name="toy",
        learner=dict(case.variant.options),
        network=dict(case.toy.network),
        loss=case.toy.loss,
        input=InputCard(kind=kind, shape=case.toy.input_shape),
        output=OutputCard(kind=case.learner().traits.output_kind, shape=(case.toy.num_outputs,)),
        num_train_classes=NUM_TRAIN_CLASSES,
        scales_inputs=case.toy.scaling is not None,
        scales_targets=case.toy.scaling is not None and not case.classifies,
        calibrated=case.toy.calibrated,
        default_steps=None,
        max_steps=None,
    )


@every_case
def test_initialisation_survives_a_save_and_a_load_to_the_bit(case: Case) -> None:
    meta = case.meta()
    loaded = from_tree(from_bytes(to_bytes(as_tree(meta))))
    equal_to_the_bit(loaded._asdict(), meta._asdict())


@every_case
def test_learner_of_a_card_answers_as_the_one_it_was_made_from(case: Case) -> None:
    again = learner_of(Card.model_validate_json(card_of(case).model_dump_json()))
    meta, episode = case.meta(), case.episode()
    equal_to_the_bit(answer(again, meta, episode), answer(case.learner(), meta, episode))
    shapes = {name: leaf.shape for name, leaf in as_tree(again.init(torch.Generator())).items()}
    assert shapes == {name: leaf.shape for name, leaf in as_tree(meta).items()}


@every_case
def test_card_of_an_unknown_learner_is_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="learner kind 'other' is not one of"):
        learner_of(card_of(case).model_copy(update={"learner": {"kind": "other"}}))
