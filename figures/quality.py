"""The card of the metric `clarity`: how well it tells damaged and generated pictures from true ones.

    python figures/quality.py --run RUN --run RUN2

Each RUN is a run folder of a world benchmark with truth/. Prints the means of true and of drawn pictures, the chance
that a true one reads clearer than a drawn one (AUC), and both of blurred true pictures.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

RADII = (0.5, 1.0, 2.0)  # px of the Gaussian blur


def auc(higher: NDArray[np.float64], lower: NDArray[np.float64]) -> float:
    """The chance that one of `higher` exceeds one of `lower`, ties half."""
    return float((higher[:, None] > lower).mean() + 0.5 * (higher[:, None] == lower).mean())


def clarities(paths: list[Path], *, subjects: list[int], blur: float = 0.0) -> NDArray[np.float64]:
    """Clarity of each picture that holds so many subjects; 0 where none is found."""
    from likeness.encoders import load_encoder
    from likeness.metrics.clarity import clarity

    probe = load_encoder("probe", "probe")
    found: list[float] = []
    for path, count in zip(paths, subjects, strict=True):
        with Image.open(path) as picture:
            shown = picture.convert("RGB").filter(ImageFilter.GaussianBlur(blur))
        seen = probe.look([shown])[0].subjects[:count]
        found.append(float(np.mean([clarity(subject) for subject in seen])) if seen else 0.0)
    return np.array(found)


def main() -> None:
    """Reads, measures, prints."""
    from likeness.core.files import read_jsonl
    from likeness.core.records import case_file, read_cases

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="append", required=True, type=Path)
    for run in parser.parse_args().run:
        cases = {case.id: case for case in read_cases(case_file(run)).cases}
        rows = read_jsonl(run / "manifest.jsonl")
        counts = [len(cases[row["case_id"]].subjects) for row in rows]
        truth = [run / "truth" / f"{row['case_id']}.png" for row in rows]
        true = clarities(truth, subjects=counts)
        drawn = clarities([run / row["image"] for row in rows], subjects=counts)
        print(
            f"{run.name}: n {len(rows)}, true {true.mean():.3f}, drawn {drawn.mean():.3f}, AUC {auc(true, drawn):.3f}"
        )
        for radius in RADII:
            blurred = clarities(truth, subjects=counts, blur=radius)
            print(f"  true, blurred by {radius:g} px: {blurred.mean():.3f}, AUC {auc(true, blurred):.3f}")


if __name__ == "__main__":
    main()
