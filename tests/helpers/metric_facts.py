"""What `likeness evaluate` writes to summary.json of the metrics of today: "metrics", in the order of its table."""

from typing import Any

# key: name, column, label, short, shown_as, headline, card, ranks, compared
TABLE = {
    "clip_t": ("clip_t", "", "Prompt fidelity (CLIP-T)", "CLIP-T", "number", 5, False, 3, 5),
    "clip_i": ("clip_i", "all_photos", "Subject fidelity (CLIP-I)", "CLIP-I", "number", 4, False, 2, 4),
    "clip_i_conditioning_photo": (
        *("clip_i", "conditioning_photo", "Subject fidelity (CLIP-I)", "CLIP-I", "number"),
        *(None, False, None, None),
    ),
    "dino": ("dino", "all_photos", "Subject fidelity (DINO)", "DINO", "number", 3, False, 1, 3),
    "dino_conditioning_photo": (
        *("dino", "conditioning_photo", "Subject fidelity (DINO)", "DINO", "number"),
        *(None, False, None, None),
    ),
    "attribute_accuracy": ("attribute_accuracy", "", "Attributes right", "Attributes", "percent", 0, True, 0, 0),
    "leakage": ("leakage", "", "Leaked from another subject", "Leakage", "percent", 1, True, None, 1),
    "leakage_found_only": (
        *("leakage", "found_only", "Leaked from another subject", "Leakage", "percent"),
        *(None, False, None, None),
    ),
    "action_recognised": ("action_recognised", "", "Action recognised", "Action", "yes_no", 2, True, None, 2),
    "scene_recognised": ("scene_recognised", "", "Scene recognised", "Scene", "yes_no", None, True, None, None),
}
KEYS = ("name", "column", "label", "short", "shown_as", "headline", "card", "ranks", "compared")


def metric_facts() -> dict[str, dict[str, Any]]:
    """A fresh copy, which a test may change."""
    return {key: {**_more(key), **dict(zip(KEYS, row, strict=True))} for key, row in TABLE.items()}


def _more(key: str) -> dict[str, Any]:
    unit = "share" if TABLE[key][5 - 1] != "number" else "cosine"
    ends = [0, 1] if unit == "share" else [-1, 1]
    return {"unit": unit, "range": ends, "higher_is_better": TABLE[key][0] != "leakage", "kind": "per_sample"}
