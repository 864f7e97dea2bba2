"""`python -m benchmarks.all`: every benchmark but those of speed (`make bench`), which share the page RESULTS.md.

Some parts run when the environment names what they need: OMNIGLOT the official archive, images_background.zip;
PARKINSONS the file parkinsons_updrs.csv; SINUSOID_FAMILY a folder of models made from models/requests/sinusoid-*.json.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import (
    jobs,
    meta_step,
    omniglot_quality,
    parkinsons_quality,
    sinusoid_family,
    sinusoid_quality,
    startup,
)
from benchmarks.results import Figure, Section, part_result, write_page, write_part
from benchmarks.speed_parts.targets import sections as speed_sections

PARTS: Mapping[str, Callable[[], list[Figure]]] = {
    "meta_step": meta_step.main,
    "startup": startup.main,
    "jobs": jobs.main,
    "sinusoid_quality": sinusoid_quality.main,
}
OPTIONAL: Mapping[str, tuple[str, Callable[[Path], list[Figure]]]] = {
    "omniglot_quality": ("OMNIGLOT", omniglot_quality.main),
    "sinusoid_family": ("SINUSOID_FAMILY", sinusoid_family.main),
    "parkinsons_quality": ("PARKINSONS", parkinsons_quality.main),
}
"""By the variable of the environment that names their data."""
SECTIONS = [
    *speed_sections(),
    Section("meta_step", "Meta-steps against a loop over tasks"),
    Section("startup", "Start"),
    Section("jobs", "Meta-training beside serving"),
    Section("sinusoid_quality", "Sinusoid"),
    Section("sinusoid_family", "Sinusoid: the family of models"),
    Section("omniglot_quality", "Omniglot"),
    Section("parkinsons_quality", "Parkinson's disease"),
]


def main() -> None:
    """Run what can be run here."""
    for part, run in PARTS.items():
        _keep(part, run())
    for part, (name, run_on) in OPTIONAL.items():
        path = os.environ.get(name)
        if path:
            _keep(part, run_on(Path(path)))
        else:
            print(f"left out: what {name} would name")
    write_page(SECTIONS)


def _keep(part: str, figures: list[Figure]) -> None:
    write_part(part_result(part, figures[0].command, figures))


if __name__ == "__main__":
    main()
