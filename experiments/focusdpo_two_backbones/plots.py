"""Trade-off curves of the validation phase. Needs matplotlib: pip install '.[plots]'"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from curves import FIDELITY, Curve

SHOWN = {"attribute_accuracy": "attributes", "dino": "DINO", "leakage": "leakage"}
FRAME = (-0.02, 0.012)
"""CLIP-T shown, from the level; what lies outside is in the tables."""


def draw_curves(curves: Mapping[str, Curve], *, level: float, title: str, out: Path) -> None:
    """A panel per metric: each method's curve over CLIP-T from the base on, the level of the comparison dotted.

    The frame is FRAME about the level, so that a method which leaves the prompt does not hide the others.
    """
    left, right = (level + edge for edge in FRAME)
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(5 * len(SHOWN), 4.5))
    for axis, (metric, label) in zip(axes, SHOWN.items(), strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            x, y = ([point.means[key] for point in curve] for key in (FIDELITY, metric))
            axis.plot(x, y, marker="o", markersize=3, color=f"C{number}", label=name)
        inside = [p.means[metric] for c in curves.values() for p in c if left <= p.means[FIDELITY] <= right]
        room = 0.05 * (max(inside) - min(inside)) or 0.01
        axis.set(xlim=(left, right), ylim=(min(inside) - room, max(inside) + room))
        axis.axvline(level, color="0.6", linestyle=":", linewidth=1)
        axis.set_xlabel("CLIP-T")
        axis.set_title(label)
    axes[-1].legend(fontsize=8)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(out, dpi=110, metadata={"Software": None})
    plt.close(figure)
