"""HPS v1, human preference: cosine of the picture and the exact prompt in the space of HPS v1.

Source: Wu et al., "Human Preference Score" (arXiv:2303.14420).
Differs: raw; the benchmark of hpsv2 multiplies by 100. No score of another version stands on its scale.
"""

from functools import partial

from likeness.metrics.base import COSINE, Facts, Metric, prompt_cosine

HPS_V1 = Metric(
    Facts(
        name="hps_v1",
        label="Human preference (HPS v1)",
        short="HPSv1",
        question="Would people prefer the picture for its prompt, by HPS v1?",
        needs=("hps_v1",),
        kind="prompt",
        unit=COSINE[0],
        range=COSINE[1],
        protocol={"hps_v1": "cosine of the whole picture and the exact prompt by HPS v1, raw"},
    ),
    partial(prompt_cosine, encoder="hps_v1"),
)
