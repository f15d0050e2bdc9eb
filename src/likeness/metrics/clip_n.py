"""clip_n: how well the prompt is met by the photo that was put in, which a model may return as it is.

Source: Stellar (arXiv:2312.06116), whose rule leaves out pictures that meet the prompt hardly better than their input:
those with clip_t <= clip_n + 2 sigma, where sigma is the deviation of clip_n. `parts` hold this encoder's clip_t.
Differs: the deviation is not taken here, since a value of one picture may not depend on the others of a run.
"""

from dataclasses import replace

from likeness.metrics.base import COSINE, Evidence, Facts, Measured, Metric, Value, cosine, of_subjects

ENCODER = "clip_bigg14"


def clip_n(evidence: Evidence) -> Measured:
    """The cosine of the prompt and each subject's conditioning photo, and their mean."""
    prompt = evidence.prompt[ENCODER]
    note = "prompt cut to CLIP's length" if prompt.truncated else ""
    found = of_subjects(
        [Value(cosine(subject.conditioning[ENCODER], prompt.vector), note) for subject in evidence.subjects]
    )
    parts = {"clip_t": cosine(evidence.picture[ENCODER], prompt.vector)}
    return replace(found, value=replace(found.value, parts=parts))


CLIP_N = Metric(
    Facts(
        name="clip_n",
        label="Prompt fidelity of the input photo (clip_n)",
        short="clip_n",
        question="How well would the input photo itself meet the prompt?",
        needs=(ENCODER,),
        kind="subject",
        unit=COSINE[0],
        range=COSINE[1],
        protocol={"clip_n": "cosine of the whole conditioning photo and the exact prompt, raw"},
        per_subject=True,
    ),
    clip_n,
)
