"""HPS v2.0, human preference: cosine of the picture and the exact prompt in the space of HPS v2.0.

Source: Wu et al., "Human Preference Score v2" (arXiv:2306.09341), first weights.
Differs: raw; the benchmark of hpsv2 multiplies by 100. Scores of v2.1 are about 3 higher there.
"""

from functools import partial

from likeness.metrics.base import COSINE, Facts, Metric, prompt_cosine

HPS_V2 = Metric(
    Facts(
        name="hps_v2",
        label="Human preference (HPS v2.0)",
        short="HPSv2.0",
        question="Would people prefer the picture for its prompt, by HPS v2.0?",
        needs=("hps_v2",),
        kind="prompt",
        unit=COSINE[0],
        range=COSINE[1],
        protocol={"hps_v2": "cosine of the whole picture and the exact prompt by HPS v2.0, raw"},
    ),
    partial(prompt_cosine, encoder="hps_v2"),
)
