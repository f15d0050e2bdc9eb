"""Values of one picture for one case: prompt fidelity, subject fidelity, exact attributes.

Metrics are pure functions of evidence: they never see the model under test and load no encoder. A new metric is one
file and one line below; evaluation, tables and pages know metrics from here only.
"""

from likeness.metrics import (
    aesthetic,
    aps,
    attributes,
    clarity,
    clip_i,
    clip_n,
    clip_t,
    contact,
    copy_index,
    copy_paste,
    dino,
    dinov2,
    dreamsim,
    efficientnet,
    face_count,
    goa,
    hps_v1,
    hps_v2,
    hps_v21,
    id_confusion,
    image_reward,
    ips,
    leakage_matrix,
    nsfw,
    pickscore,
    pose,
    relations,
    roles,
    sis,
    subject_count,
    subject_fidelity,
    vlm_judge,
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
        clip_n.CLIP_N,
        *dinov2.DINOV2,
        hps_v1.HPS_V1,
        hps_v2.HPS_V2,
        hps_v21.HPS_V21,
        pickscore.PICKSCORE,
        image_reward.IMAGE_REWARD,
        aesthetic.AESTHETIC,
        *ips.IPS,
        *sis.SIS,
        *aps.APS,
        *face_count.FACE_COUNTS,
        *efficientnet.EFFICIENTNET,
        nsfw.NSFW,
        *goa.GOA,
        *relations.RELATION_METRICS,
        vlm_judge.VLM_JUDGE,
        *dreamsim.DREAMSIM,
        subject_fidelity.SUBJECT_FIDELITY,
        subject_count.SUBJECT_COUNT,
        id_confusion.ID_CONFUSION,
        leakage_matrix.LEAKAGE_MATRIX,
        roles.ROLES,
        copy_paste.COPY_PASTE,
        copy_index.COPY_INDEX,
        *contact.CONTACT_METRICS,
        pose.POSE_ERROR,
    )
}
