"""Per-sample values of prompt fidelity, subject fidelity and exact attributes; aggregation belongs to `evaluate`.

Metrics are pure functions of features and readings: they never see the model under test and load no encoder.
"""

from likeness.metrics import attributes, clip_i, clip_t, dino
from likeness.metrics.base import Facts

# Every metric with its facts, in the order in which tables show them.
METRICS: dict[str, Facts] = {
    "clip_t": clip_t.FACTS,
    "clip_i": clip_i.FACTS,
    "dino": dino.FACTS,
    "attribute_accuracy": attributes.ACCURACY,
    "leakage": attributes.LEAKAGE,
    "action_recognised": attributes.ACTION,
    "scene_recognised": attributes.SCENE,
}
