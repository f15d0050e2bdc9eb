"""ReVersion's steering: the embedding of a relation's word lies with prepositions and away from what is related.

Shapes: P rows of prepositions, N rows of other words, D width of an encoder's table of tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def steering_loss(
    word: Float[Tensor, " D"],
    *,
    prepositions: Float[Tensor, "P D"],
    entities: Float[Tensor, "N D"],
    temperature: float,
) -> Float[Tensor, ""]:
    """-log of the share that prepositions have of sum exp(cosine / temperature) over all rows; in fp32.

    It is 0 without entities. A row that comes twice counts twice. The gradient reaches `word` alone.
    Source: ReVersion (arXiv:2303.13495), its relation-steering contrastive loss, InfoNCE with several positives, as its
    code has it (design note dreamrelation.md, 6).
    """
    own = functional.normalize(word.float(), dim=0)
    near, far = (functional.normalize(rows.detach().float(), dim=1) @ own for rows in (prepositions, entities))
    positive, everything = near / temperature, torch.cat([near, far]) / temperature
    return everything.logsumexp(dim=0) - positive.logsumexp(dim=0)
