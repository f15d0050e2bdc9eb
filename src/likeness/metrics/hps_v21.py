"""HPS v2.1, human preference: cosine of the picture and the exact prompt in the space of HPS v2.1.

Source: Wu et al., "Human Preference Score v2" (arXiv:2306.09341), second weights.
Differs: raw; the benchmark of hpsv2 multiplies by 100. Scores of v2.0 are about 3 lower there.
"""

from functools import partial

from likeness.metrics.base import COSINE, Facts, Metric, prompt_cosine

HPS_V21 = Metric(
    Facts(
        name="hps_v21",
        label="Human preference (HPS v2.1)",
        short="HPSv2.1",
        question="Would people prefer the picture for its prompt, by HPS v2.1?",
        needs=("hps_v21",),
        kind="prompt",
        unit=COSINE[0],
        range=COSINE[1],
        protocol={"hps_v21": "cosine of the whole picture and the exact prompt by HPS v2.1, raw"},
    ),
    partial(prompt_cosine, encoder="hps_v21"),
)
