"""`make bench`: run every benchmark and write RESULTS.md.

The Omniglot part runs when OMNIGLOT names the official archive, images_background.zip.
"""

import os
from pathlib import Path

from benchmarks import meta_step, omniglot_quality, sinusoid_quality, startup
from benchmarks.results import ROOT, as_markdown

RESULTS = ROOT / "benchmarks" / "RESULTS.md"


def main() -> None:
    """Run what can be run here."""
    figures = [*meta_step.main(), *startup.main(), *sinusoid_quality.main()]
    archive = os.environ.get("OMNIGLOT")
    if archive:
        figures += omniglot_quality.main(Path(archive))
    else:
        print("omniglot-5way is left out: set OMNIGLOT=path/to/images_background.zip")
    RESULTS.write_text(as_markdown(figures), encoding="utf-8")
    print(f"wrote {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
