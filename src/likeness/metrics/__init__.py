"""Values of one picture for one case: prompt fidelity, subject fidelity, exact attributes.

Metrics are pure functions of evidence: they never see the model under test and load no encoder. A new metric is one
file and one line below; evaluation, tables and pages know metrics from here only.
"""

from likeness.metrics import (
    attributes,
    clarity,
    clip_i,
    clip_t,
    copy_index,
    copy_paste,
    dino,
    id_confusion,
    leakage_matrix,
    roles,
    subject_count,
    subject_fidelity,
)
from likeness.metrics.base import Metric

# Every metric, in the order in which tables show them.
METRICS: dict[str, Metric] = {
    metric.facts.key: metric
    for metric in (
        clip_t.CLIP_T,
        *clip_i.CLIP_I,
        *dino.DINO,
        *attributes.ATTRIBUTES,
        clarity.CLARITY,
        subject_fidelity.SUBJECT_FIDELITY,
        subject_count.SUBJECT_COUNT,
        id_confusion.ID_CONFUSION,
        leakage_matrix.LEAKAGE_MATRIX,
        roles.ROLES,
        copy_paste.COPY_PASTE,
        copy_index.COPY_INDEX,
    )
}
