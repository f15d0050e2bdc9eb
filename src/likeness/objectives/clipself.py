"""CLIPSelf: dense features of a region shall resemble what the frozen CLIP says of the region cut out.

Source: CLIPSelf (arXiv:2310.01403), Eq. 1; DreamRelation (arXiv:2410.23280) trains its Local Image Encoder by it.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def clipself_loss(student: Float[Tensor, "R P"], teacher: Float[Tensor, "R P"]) -> Float[Tensor, " R"]:
    """1 minus the cosine of both features of each region: 0 where they point the same way, 2 where opposite ways.

    `student` are pooled dense features, of any length; no gradient reaches `teacher`.
    """
    return 1 - F.cosine_similarity(student, teacher.detach(), dim=-1)
