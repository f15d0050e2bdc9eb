"""IPS, identity preservation: is the person of the conditioning photo in the picture?

Source: Stellar (arXiv:2312.06116). Fixed: the photo's single largest face against every face of the picture, the best
counts; NaN where there is no face. Paper: 0 where the picture has none, which is inside the range, so that a lost
face outranks a wrong one. Differs from the public code in both: that takes the best over all faces of the photo too,
and gives 0 for a photo without a face.
"""

from likeness.metrics.base import Evidence, Facts, SubjectEvidence, Value
from likeness.metrics.face_likeness import FACES, as_in_the_paper, face_metrics, likeness_to

PROTOCOL = "best similarity of a face of the picture to the conditioning photo's largest; paper: 0 without a face"


def _fixed(evidence: Evidence, subject: SubjectEvidence) -> Value:
    return likeness_to(evidence.picture[FACES], subject.conditioning[FACES])


def _paper(evidence: Evidence, subject: SubjectEvidence) -> Value:
    return as_in_the_paper(_fixed(evidence, subject), evidence.picture[FACES])


IPS = face_metrics(
    Facts(
        name="ips",
        label="Identity (IPS)",
        short="IPS",
        question="Is the person of the conditioning photo in the picture?",
        needs=(FACES,),
        kind="subject",
        unit="similarity",
        range=(-1.0, 1.0),
        protocol={"ips": PROTOCOL},
        per_subject=True,
    ),
    fixed=_fixed,
    paper=_paper,
)
