"""Contract: predict answers row by row, and never with a class that the task lacks."""

import pytest
import torch

from app.episode import Episode, Settings
from app.learners.learner import NO_NOISE
from tests.learners.answers import STEPS, Answer, answer, close, equal_to_the_bit
from tests.learners.cases import Case, every_case, every_classifier
from tests.learners.toys import WAYS

NUM_ABSENT = 2


@every_case
def test_row_alone_gets_what_it_gets_among_others(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    task_params, _, outputs, _ = answer(learner, meta, episode)
    for i in range(len(outputs)):
        close(learner.predict(meta, task_params, episode.query.inputs[i : i + 1])[0], outputs[i])


@every_case
@pytest.mark.parametrize("other", [0.0, 1e4, torch.nan])
def test_other_rows_have_no_influence_to_the_bit(case: Case, other: float) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    task_params, _, outputs, _ = answer(learner, meta, episode)
    for i in (0, len(outputs) - 1):
        inputs = torch.full_like(episode.query.inputs, other)
        inputs[i] = episode.query.inputs[i]
        equal_to_the_bit(learner.predict(meta, task_params, inputs)[i], outputs[i])


@every_case
def test_rows_in_another_order_get_their_answers_in_that_order(case: Case) -> None:
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    task_params, _, outputs, _ = answer(learner, meta, episode)
    close(learner.predict(meta, task_params, episode.query.inputs.flip(0)), outputs.flip(0))


@every_classifier
def test_probabilities_sum_to_one_over_the_classes_of_the_task(case: Case) -> None:
    probabilities = case.learner().loss.probabilities(_with_absent_classes(case, 1.0).outputs)
    close(probabilities[:, :-NUM_ABSENT].sum(dim=1), torch.ones(len(probabilities)))


@every_classifier
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_absent_classes_have_probability_zero(case: Case, size: float) -> None:
    """Whatever the units of the inputs are: people send ages and salaries."""
    probabilities = case.learner().loss.probabilities(_with_absent_classes(case, size).outputs)
    assert probabilities.isfinite().all()
    assert (probabilities[:, -NUM_ABSENT:] == 0).all()


def _with_absent_classes(case: Case, size: float) -> Answer:
    """Return the answers for a task without the last classes, on a support times `size` and queries of zeros."""
    support, query, class_ids = case.episode(WAYS - NUM_ABSENT)
    class_mask = torch.arange(WAYS) < WAYS - NUM_ABSENT
    wide = support._replace(inputs=support.inputs * size, class_mask=class_mask)
    class_ids = torch.cat([class_ids, torch.zeros(NUM_ABSENT, dtype=torch.int64)])
    episode = Episode(wide, query._replace(inputs=torch.zeros_like(query.inputs)), class_ids)
    return answer(case.learner(), case.meta(), episode, steps=STEPS if size == 1 else 0)


@every_classifier
def test_absent_classes_stay_away_when_all_rows_favour_them(case: Case) -> None:
    """The mask is the task's, kept in its parameters: not what the support happens to hold."""
    learner, meta, episode = case.learner(), case.meta(), case.episode()
    class_mask = torch.arange(WAYS) != 0
    support = episode.support._replace(class_mask=class_mask, row_mask=episode.support.targets != 0)
    task_params, _ = learner.adapt(meta, support, Settings(STEPS, torch.tensor(1.0)), NO_NOISE)
    of_class_0 = learner.predict(meta, task_params, episode.support.inputs[episode.support.targets == 0])
    assert (learner.loss.probabilities(of_class_0)[:, 0] == 0).all()
