import pytest
import torch

from app.task_distributions.dataset import Dataset, part_of
from app.task_distributions.distribution import Split
from app.task_distributions.split import (
    shared_out,
    split_by_member,
    split_by_super_class,
    super_class_of_class,
)
from innerloop.errors import InvalidDataset
from tests.task_distributions.data_sets import split, vectors

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
OMNIGLOT = [
    "Alphabet_of_the_Magi",
    "Anglo-Saxon_Futhorc",
    "Arcadian",
    "Armenian",
    "Asomtavruli_(Georgian)",
    "Balinese",
    "Bengali",
    "Blackfoot_(Canadian_Aboriginal_Syllabics)",
    "Braille",
    "Burmese_(Myanmar)",
    "Cyrillic",
    "Early_Aramaic",
    "Futurama",
    "Grantha",
    "Greek",
    "Gujarati",
    "Hebrew",
    "Inuktitut_(Canadian_Aboriginal_Syllabics)",
    "Japanese_(hiragana)",
    "Japanese_(katakana)",
    "Korean",
    "Latin",
    "Malay_(Jawi_-_Arabic)",
    "Mkhedruli_(Georgian)",
    "N_Ko",
    "Ojibwe_(Canadian_Aboriginal_Syllabics)",
    "Sanskrit",
    "Syriac_(Estrangelo)",
    "Tagalog",
    "Tifinagh",
]
"""The alphabets of images_background.zip."""


def data() -> Dataset:
    return split(vectors([5] * 40))


def test_alphabets_are_split_as_the_shipped_model_was_trained() -> None:
    """Its card's figures are of these test alphabets; another split would let it be judged on what it has seen."""
    shares = shared_out(OMNIGLOT, "super-classes", (0.7, 0.15, 0.15), 0)
    assert {part: len(names) for part, names in shares.items()} == {"train": 22, "validation": 4, "test": 4}
    inuktitut, blackfoot = (f"{name}_(Canadian_Aboriginal_Syllabics)" for name in ("Inuktitut", "Blackfoot"))
    assert shares["test"] == ["Armenian", "Cyrillic", "Japanese_(hiragana)", inuktitut]
    assert shares["validation"] == ["Balinese", "Alphabet_of_the_Magi", blackfoot, "Sanskrit"]


def test_no_super_class_is_in_two_splits_and_none_is_lost() -> None:
    found = data()
    names = [{found.group_names[n // 2] for n in found.split[part]} for part in SPLITS]
    assert sum(map(len, names)) == len(set.union(*names)) == 20
    assert [len(part) for part in names] == [14, 3, 3]


def test_every_class_is_in_one_split_and_classes_keep_their_order() -> None:
    found = data()
    assert sorted(n for part in SPLITS for n in found.split[part]) == list(range(40))
    assert all(list(found.split[part]) == sorted(found.split[part]) for part in SPLITS)


def test_a_split_has_the_rows_of_its_classes_in_the_order_of_the_file() -> None:
    found = data()
    for split_ in SPLITS:
        part = part_of(found, split_)
        assert part.names == tuple(found.class_names[n] for n in found.split[split_])
        for n, rows in zip(found.split[split_], torch.split(part.rows, part.counts.tolist()), strict=True):
            assert torch.equal(rows, (found.targets == n).nonzero().flatten())


def test_no_row_is_in_two_splits() -> None:
    rows = torch.cat([part_of(data(), part).rows for part in SPLITS])
    assert torch.equal(rows.sort().values, torch.arange(200))


def test_split_depends_on_the_names_alone_and_not_on_their_order() -> None:
    names = [f"group {n}" for n in range(20)]
    assert shared_out(names, "groups") == shared_out(names[::-1], "groups")


def test_another_seed_is_another_split() -> None:
    names = [f"group {n}" for n in range(20)]
    assert shared_out(names, "groups", seed=1) != shared_out(names, "groups", seed=0)


@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.1, 0.45, 0.45), (0.1, 0.1, 0.8), (0.98, 0.01, 0.01)])
@pytest.mark.parametrize("num", [3, 4, 5, 6, 7, 10])
def test_each_split_has_a_member_where_there_are_three(num: int, fractions: tuple[float, float, float]) -> None:
    found = split_by_member([f"group {n}" for n in range(num)], "grouped", fractions)
    assert all(found.values())
    assert sorted(i for members in found.values() for i in members) == list(range(num))


def test_fewer_than_three_members_are_refused_and_named() -> None:
    with pytest.raises(InvalidDataset, match=r"three splits need at least 3 groups; there is 1: \['anna'\]"):
        split_by_member(["anna"], "grouped")
    with pytest.raises(InvalidDataset, match="at least 3 classes; there are 2"):
        split_by_member(["cat", "dog"], "labelled")
    with pytest.raises(InvalidDataset, match="at least 3 super-classes; there are 2"):
        split_by_super_class(["a", "b", "c"], ["x", "y"], [0, 0, 1])


def test_class_of_two_super_classes_is_refused_by_name() -> None:
    targets, groups = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1])
    with pytest.raises(InvalidDataset, match=r"class 'cat' has rows of two super-classes, '(sea|land)' and"):
        super_class_of_class(targets, groups, ["cat", "dog"], ["land", "sea"])
    assert super_class_of_class(targets, torch.tensor([1, 0, 0, 1]), ["cat", "dog"], ["land", "sea"]) == [1, 0]
