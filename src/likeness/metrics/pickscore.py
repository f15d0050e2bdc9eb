"""PickScore, human preference: cosine of the picture and the exact prompt in the space of PickScore.

Source: Kirstain et al., "Pick-a-Pic" (arXiv:2305.01569).
Differs: raw, as in Stellar's tables; the published script multiplies by exp(logit_scale), about 100.
"""

from functools import partial

from likeness.metrics.base import COSINE, Facts, Metric, prompt_cosine

PICKSCORE = Metric(
    Facts(
        name="pickscore",
        label="Human preference (PickScore)",
        short="PickScore",
        question="Would people prefer the picture for its prompt, by PickScore?",
        needs=("pickscore",),
        kind="prompt",
        unit=COSINE[0],
        range=COSINE[1],
        protocol={"pickscore": "cosine of the whole picture and the exact prompt by PickScore, raw"},
    ),
    partial(prompt_cosine, encoder="pickscore"),
)
