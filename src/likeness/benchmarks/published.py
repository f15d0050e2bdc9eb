"""Data sets that benchmarks and cards are of. None is fetched by a program: their terms are between you and them."""

from functools import partial

from likeness.core.published import NOT_KNOWN, Published

_ANYWHERE = "any folder, named by --data FOLDER"
_CASES = "any folder, with a case file for --cases FILE"
_set = partial(Published, way="hand")

DATA_SETS: dict[str, Published] = {
    "dreambench": _set(
        "DreamBench: 158 photos of 30 subjects, with UNO's two lists of prompts",
        source="https://github.com/google/dreambooth (dataset/) and datasets/ of bytedance/UNO on GitHub",
        files=(
            "<subject>/*.jpg",
            "prompts_and_classes.txt",
            "dreambench_singleip.json",
            "dreambench_multiip.json",
        ),
        needed_by="--benchmark dreambench-single, dreambench-multi",
        licence=NOT_KNOWN,
        place=_ANYWHERE,
    ),
    "stellar": _set(
        "Stellar: 400 people of CelebAMask-HQ with prompts",
        source="the Stellar project, by a form",
        files=("NNN/0.jpg", "NNN/1.jpg", "NNN/prompts_t.json", "NNN/prompts_h.json"),
        needed_by="--benchmark stellar",
        licence="research and education only; prompts non-commercial",
        place=_ANYWHERE,
        note="photos are those of celebamask_hq",
    ),
    "celebamask_hq": _set(
        "CelebAMask-HQ: photographs of people with masks and attributes",
        source=NOT_KNOWN,
        files=("CelebAMask-HQ-attribute-anno.txt",),
        needed_by="--benchmark stellar, and encoders of face attributes fitted to photographs",
        licence="images must not be passed on",
        place=_ANYWHERE,
    ),
    "customconcept101": _set(
        "CustomConcept101: 101 combinations of two subjects x 20 prompts, as MIP-Adapter lists them",
        source=NOT_KNOWN,
        files=("dataset_multiconcept.json",),
        needed_by="the card concept101/mip@1",
        licence=NOT_KNOWN,
        place=_CASES,
    ),
    "relationbench": _set(
        "RelationBench: 25 relations between objects of DreamBench and CustomConcept101",
        source="QingyuShi/RelationBench on the hub (not seen)",
        files=(),
        needed_by="the card relationbench@1",
        licence="none stated",
        place=_CASES,
        note="objects, pairs and seeds are not published",
    ),
    "dreambench_plus": _set(
        "DreamBench++: 150 subjects x 9 prompts",
        source="yuangpeng/dreambench_plus on GitHub",
        files=(),
        needed_by="the card dreambench++@1",
        licence="of its own (not read)",
        place=_CASES,
    ),
}
"""By the name under which `likeness fetch` knows them."""
