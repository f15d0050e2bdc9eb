"""Subject similarity by EfficientNet-Lite0, for places without a model hub: never to be read as CLIP-I or DINO.

Mean cosine of the picture's feature to those of the subject's photos, as CLIP-I and DINO are formed.
"""

from dataclasses import replace

from likeness.metrics.base import Metric, photo_metrics

LABEL = "EfficientNet-Lite0 subject similarity (offline)"


def _own_name(metric: Metric) -> Metric:
    return replace(metric, facts=replace(metric.facts, label=LABEL, headline=None, ranks=None))


_all, _one = photo_metrics(
    "efficientnet",
    "EfficientNet-Lite0",
    "Does the picture show the subject, by a network trained on class labels?",
    encoder="efficientnet",
    protocol="mean over photos of the cosine of pooled EfficientNet-Lite0 features",
    headline=0,
    ranks=0,
)
EFFICIENTNET = (_own_name(_all), _own_name(_one))
