"""From scores, masks and detail to the weight M of every token: the field M_s, its share A, and the fusion with M_d.

Shapes: B pairs, R subjects (one per reference), L target tokens of the preferred picture.
Source: FocusDPO (arXiv:2509.01181) Eqs. 4, 9 and 11; readings of what it leaves open are in docs/paper_index.md.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.core.errors import ConfigError, DataError, MeasurementError
from likeness.focus.masks import resolve_overlaps

Mode = Literal["full", "prior", "md", "no_prior", "no_ms", "no_ms_literal", "no_md", "uniform"]
MODES: tuple[str, ...] = get_args(Mode)

_WITH_SCORES = {"full", "no_prior", "no_md"}
_WITH_BRANCH = {"full", "no_prior"}


class FocusMaps(NamedTuple):
    """What `focus_maps` found for B pairs; maps lie on the token grid, 0/1 maps are bool.

    `focus_share` is A = |M_s| / |M_prior| in [0, 1], NaN where it was not measured (no scores, or an empty prior).
    `fused` says that the fusion branch was taken, `valid` that the prior has a token; else the weight is 0.
    """

    prior: Bool[Tensor, "B L"]
    matched: Bool[Tensor, "B R L"]
    field: Bool[Tensor, "B L"]
    complexity: Float[Tensor, "B L"]
    weight: Float[Tensor, "B L"]
    focus_share: Float[Tensor, " B"]
    fused: Bool[Tensor, " B"]
    valid: Bool[Tensor, " B"]


def needs_scores(mode: str) -> bool:
    """Whether the mode uses the attention field, so that a forward pass must be watched.

    Raises: ConfigError for an unknown mode.
    """
    if mode not in MODES:
        raise ConfigError(f"focus mode: expected one of {', '.join(MODES)}, got {mode!r}; choose one.")
    return mode in _WITH_SCORES


def matched_tokens(
    scores: Float[Tensor, "B R L"], counts: Int[Tensor, "B R"], *, exclusive: bool = False
) -> Bool[Tensor, "B R L"]:
    """M': for each subject the K tokens most like its reference, K being its entry of `counts`.

    The search goes over all tokens; of equal scores the first wins. With `exclusive`, a token counts for its best
    reference only, so that M' may have fewer than K tokens.
    Source: FocusDPO Eq. 4. Differs: top-K where it prints argmax.
    """
    wins = torch.ones_like(scores, dtype=torch.bool)
    if exclusive:
        references = torch.arange(scores.shape[1], device=scores.device)[None, :, None]
        wins = scores.argmax(dim=1, keepdim=True) == references
    order = scores.masked_fill(~wins, -math.inf).argsort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    return (rank < counts[..., None]) & wins


def attention_field(
    subjects: Bool[Tensor, "B R L"], matched: Bool[Tensor, "B R L"], *, per_subject: bool = True
) -> Bool[Tensor, "B L"]:
    """M_s: subject tokens not located yet, by their own reference or, without `per_subject`, by any.

    Source: FocusDPO, M_prior without M'. Differs: per subject, since in the literal union a dog's reference that
    matches the cat counts as located, and the confusion that the method is made for is not seen. Equal for one
    subject.
    """
    if per_subject:
        return (subjects & ~matched).any(dim=1)
    return subjects.any(dim=1) & ~matched.any(dim=1)


def _counts(
    subjects: Bool[Tensor, "B R L"], *, k: float | str, num_reference_tokens: Int[Tensor, "B R"] | None
) -> Int[Tensor, "B R"]:
    """K of each subject; 0 for those without a token. Raises: ConfigError, MeasurementError."""
    own = subjects.sum(dim=-1)
    if k == "reference":
        if num_reference_tokens is None:
            raise MeasurementError("focus_maps: expected the references' numbers of tokens for this k, got none.")
        return torch.where(own > 0, num_reference_tokens.to(own), 0)
    if isinstance(k, str) or not k > 0:
        raise ConfigError(f"k: expected a number above 0 or 'reference', got {k!r}; 1 is the subject's own tokens.")
    return torch.where(own > 0, (own * k).round().clamp_min(1).to(own), 0)


def _check(scores: Tensor | None, subject_masks: Tensor, *, mode: str, tau: float, gamma: float) -> None:
    for name, number in (("tau", tau), ("gamma", gamma)):
        if not 0 <= number <= 1:
            raise ConfigError(f"{name}: expected a number in [0, 1], got {number}; the paper has tau 0.1, gamma 0.3.")
    if needs_scores(mode) and scores is None:
        raise MeasurementError(f"focus_maps: expected scores for mode {mode!r}, got None; watch the forward pass.")
    if scores is not None and scores.shape != subject_masks.shape:
        got = f"{tuple(scores.shape)} and {tuple(subject_masks.shape)}"
        raise DataError(f"focus_maps: expected scores and masks (B, R, L), got {got}; one reference per subject.")


def _weight(
    mode: str, *, prior: Tensor, field: Tensor, complexity: Tensor, fused: Tensor, gamma: float
) -> Float[Tensor, "B L"]:
    """M of the mode, before invalid pairs are taken out; Eq. 9 for "full", Eq. 11 for "no_prior"."""
    detail = complexity if mode in {"md", "no_prior"} else complexity * prior
    match mode:
        case "uniform":
            return torch.ones_like(complexity)
        case "prior":
            return prior.float()
        case "md" | "no_ms":
            return detail
        case "no_ms_literal":
            return (1 - gamma) * detail
        case "no_md":
            return field.float()
        case _:
            return torch.where(fused[:, None], gamma * field + (1 - gamma) * detail, field.float())


@torch.no_grad()
def focus_maps(
    scores: Float[Tensor, "B R L"] | None,
    subject_masks: Bool[Tensor, "B R L"],
    disrupted: Bool[Tensor, "B R"],
    complexity: Float[Tensor, "B L"],
    *,
    mode: str = "full",
    tau: float = 0.1,
    gamma: float = 0.3,
    k: float | str = 1.0,
    per_subject: bool = True,
    exclusive: bool = False,
    shares: Float[Tensor, "B R L"] | None = None,
    num_reference_tokens: Int[Tensor, "B R"] | None = None,
) -> FocusMaps:
    """The weight M of every token, and the maps it is made of; nothing in it carries a gradient.

    `scores` are a `FieldCollector`'s, `complexity` the M_d of the preferred picture. Only disrupted subjects count:
    they make up the prior. K of a subject is `k` times its number of tokens (rounded, at least 1), or with `k`
    "reference" its entry of `num_reference_tokens`. With A > tau (strictly) M = M_s, else
    M = gamma M_s + (1 - gamma) M_d M_prior. Modes: "full"; "prior" (M_prior); "md" (M_d of the whole picture);
    "no_prior" (M_d not confined); "no_ms" (M_d M_prior); "no_ms_literal" (Eq. 9 with M_s left out:
    (1 - gamma) M_d M_prior); "no_md" (M_s always); "uniform" (1). `shares` in [0, 1] say how much of a token a subject
    covers, by which M_prior and M_s then weigh; without them a token of the prior counts in full.
    Source: FocusDPO (arXiv:2509.01181) Eqs. 4, 9, 11; tau 0.1 and gamma 0.3 are its settings.
    Differs: K from the subject's tokens by default, since with the number of reference tokens M' may cover the
    picture; a pair with an empty prior gets weight 0 in every mode instead of 0/0.
    Raises: ConfigError for a mode, tau or gamma out of range; MeasurementError without scores where the mode needs
    them; DataError when scores and masks disagree.
    """
    _check(scores, subject_masks, mode=mode, tau=tau, gamma=gamma)
    subjects = resolve_overlaps(subject_masks & disrupted[..., None])
    prior = subjects.any(dim=1)
    valid = prior.any(dim=1)
    if scores is None:
        matched, field = torch.zeros_like(subjects), torch.zeros_like(prior)
        focus_share = torch.full_like(complexity[:, 0], math.nan)
    else:
        counts = _counts(subjects, k=k, num_reference_tokens=num_reference_tokens)
        matched = matched_tokens(scores, counts, exclusive=exclusive)
        field = attention_field(subjects, matched, per_subject=per_subject)
        focus_share = field.sum(dim=1).float() / prior.sum(dim=1).float()  # 0/0 = NaN
    fused = valid & (focus_share <= tau) & (mode in _WITH_BRANCH)
    covered = prior.float() if shares is None else prior * (shares * disrupted[..., None]).amax(dim=1)
    weight = _weight(mode, prior=covered, field=field * covered, complexity=complexity, fused=fused, gamma=gamma)
    return FocusMaps(prior, matched, field, complexity, weight * valid[:, None], focus_share, fused, valid)
