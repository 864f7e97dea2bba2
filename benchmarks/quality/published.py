"""Published figures beside ours: for each data set and method, by cell, with the conditions that differ."""

from collections.abc import Mapping
from typing import NamedTuple


class Published(NamedTuple):
    """Figures of one paper."""

    source: str
    conditions: str
    cells: Mapping[str, str]
    """By the name of a cell; percent, with the 95% interval where it was given."""


def _omniglot(source: str, conditions: str, *figures: str) -> Published:
    names = ("5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot")
    return Published(source, conditions, {name: shown for name, shown in zip(names, figures, strict=True) if shown})


QUERY_STATISTICS = "statistics of the query batch"
ROW_BY_ROW = "no statistic of the query batch"

PUBLISHED: Mapping[str, Mapping[str, Published]] = {
    "omniglot": {
        "maml": _omniglot("Finn et al. 2017", QUERY_STATISTICS, "98.7 ± 0.4", "99.9 ± 0.1", "95.8 ± 0.3", "98.9 ± 0.2"),
        "fomaml": _omniglot(
            "Nichol et al. 2018", QUERY_STATISTICS, "98.3 ± 0.5", "99.2 ± 0.2", "89.4 ± 0.5", "97.9 ± 0.1"
        ),
        "reptile": _omniglot(
            "Nichol et al. 2018", ROW_BY_ROW, "95.39 ± 0.09", "98.90 ± 0.10", "88.14 ± 0.15", "96.65 ± 0.33"
        ),
        "meta_sgd": _omniglot("Li et al. 2017", QUERY_STATISTICS, "99.53 ± 0.26", "99.93 ± 0.09", "", ""),
        "mamlpp": _omniglot(
            "Antoniou et al. 2019", f"{QUERY_STATISTICS}, five checkpoints averaged", "99.47", "99.93", "97.65", "99.33"
        ),
        "anil": _omniglot("Raghu et al. 2020", QUERY_STATISTICS, "", "", "96.2 ± 0.5", "98.0 ± 0.3"),
        "prototypical": _omniglot("Snell et al. 2017", ROW_BY_ROW, "98.8", "99.7", "96.0", "98.9"),
        "matching": _omniglot("Vinyals et al. 2016", ROW_BY_ROW, "98.1", "98.9", "93.8", "98.5"),
        "mann": _omniglot("Santoro et al. 2016", "no convolution", "82.8", "94.9", "", ""),
    },
    "sinusoid": {
        "maml": Published("Li et al. 2017", "their rerun, after 1 step", {"5-shot": "1.13 ± 0.18"}),
        "meta_sgd": Published("Li et al. 2017", "after 1 step", {"5-shot": "0.90 ± 0.16"}),
    },
}
"""There are none for these intents and patients under such splits. Omniglot's are for characters drawn at random from
all alphabets, 1200 of 1623 to train on."""
