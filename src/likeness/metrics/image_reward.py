"""ImageReward, human preference: what a BLIP tuned on rankings answers to the picture and its prompt.

Source: Xu et al., "ImageReward" (arXiv:2304.05977), v1.0; `encoders/blip.py` computes it.
"""

from likeness.encoders.reward import PairScore
from likeness.metrics.base import UNBOUNDED, Evidence, Facts, Measured, Metric, Value


def image_reward(evidence: Evidence) -> Measured:
    """The standardised score; noted when ImageReward did not read the end of the prompt."""
    answer: PairScore = evidence.answers["image_reward"][evidence.case.prompt]
    return Measured(Value(answer.score, "prompt cut to ImageReward's 35 tokens" if answer.truncated else ""))


IMAGE_REWARD = Metric(
    Facts(
        name="image_reward",
        label="Human preference (ImageReward)",
        short="ImageReward",
        question="Would people prefer the picture for its prompt, by ImageReward?",
        needs=("image_reward",),
        kind="prompt",
        unit="standard deviations",
        range=UNBOUNDED,
        protocol={"image_reward": "ImageReward v1.0 of the whole picture and the exact prompt, standardised"},
    ),
    image_reward,
)
