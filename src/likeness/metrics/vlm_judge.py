"""VLM judge: does an open vision-language model say yes to what must be true of the picture?

Source: VQAScore (arXiv:2404.01291) for the case's prompt; questions of the case's own take its place. Differs: see
`encoders/vlm.py`.
"""

import math
from collections.abc import Sequence

from likeness.core.records import Case
from likeness.encoders.answers import YesNo
from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value

ENCODER = "vlm"
SMALL_MASS = 0.1


def questions(case: Case) -> Sequence[str]:
    """The case's questions, whose right answer is yes; without any, whether the picture shows the prompt."""
    asked = case.labels.questions or (f'Does the picture show "{case.prompt}"?',)
    return list(dict.fromkeys(f"{question} Answer Yes or No." for question in asked))


def vlm_judge(evidence: Evidence) -> Measured:
    """Mean over questions of P(yes) / (P(yes) + P(no)); noted when the model wanted to say neither."""
    answers: dict[str, YesNo] = {text: evidence.answers[ENCODER][text] for text in questions(evidence.case)}
    values = [answer.yes for answer in answers.values()]
    unsure = any(answer.mass < SMALL_MASS for answer in answers.values())
    note = f"the model puts less than {SMALL_MASS:g} on yes and no together" if unsure else ""
    parts = {text: answer.yes for text, answer in answers.items()} if len(answers) > 1 else {}
    return Measured(Value(math.fsum(values) / len(values), note, parts=parts))


VLM_JUDGE = Metric(
    Facts(
        name="vlm_judge",
        label="Judged by an open VLM",
        short="VLM",
        question="Does a vision-language model say that the picture shows what it should?",
        needs=(ENCODER,),
        kind="prompt",
        unit="probability",
    ),
    vlm_judge,
    questions=questions,
)
