"""CLIP-T, prompt fidelity: cosine of the picture and the exact prompt in CLIP's space.

Source: DreamBooth (arXiv:2208.12242), section 4.1. Differs: raw, neither floored at 0 nor scaled (MIP-Adapter's script
multiplies by 2.5), so that values compare with the DreamBench tables.
"""

from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, cosine


def clip_t(evidence: Evidence) -> Measured:
    """The raw cosine; noted when CLIP did not read the end of the prompt."""
    prompt = evidence.prompt["clip"]
    note = "prompt cut to CLIP's length" if prompt.truncated else ""
    return Measured(Value(cosine(evidence.picture["clip"], prompt.vector), note))


CLIP_T = Metric(
    Facts(
        name="clip_t",
        label="Prompt fidelity (CLIP-T)",
        short="CLIP-T",
        question="Does the picture show what the prompt says?",
        unit="cosine",
        range=(-1.0, 1.0),
        needs=("clip",),
        kind="prompt",
        protocol={"clip_t": "cosine of the whole picture and the exact prompt, raw"},
        headline=5,
        ranks=3,
    ),
    clip_t,
)
