"""`make bench`: run every benchmark and write RESULTS.md.

Some parts run when the environment names what they need: OMNIGLOT the official archive, images_background.zip;
PARKINSONS the file parkinsons_updrs.csv; SINUSOID_FAMILY a folder of models made from models/requests/sinusoid-*.json.
"""

import os
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
from benchmarks.results import ROOT, as_markdown

RESULTS = ROOT / "benchmarks" / "RESULTS.md"
OPTIONAL = {
    "OMNIGLOT": omniglot_quality.main,
    "SINUSOID_FAMILY": sinusoid_family.main,
    "PARKINSONS": parkinsons_quality.main,
}


def main() -> None:
    """Run what can be run here."""
    figures = [*meta_step.main(), *startup.main(), *jobs.main(), *sinusoid_quality.main()]
    for name, part in OPTIONAL.items():
        path = os.environ.get(name)
        if path:
            figures += part(Path(path))
        else:
            print(f"left out: what {name} would name")
    RESULTS.write_text(as_markdown(figures), encoding="utf-8")
    print(f"wrote {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
