"""What is seen of a drawn person's face, as questions of yes and no with names in the manner of CelebA."""

from likeness.world.identity import HUMANS, Identity

NO_YES = ("no", "yes")
_MEANS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Young": ("age", ("child",)),
    "Bearded": ("beard", ("bearded",)),
    "Wearing_Hat": ("accessory", ("top hat", "cap", "crown")),
    "Wearing_Glasses": ("accessory", ("glasses",)),
    "Long_Hair": ("hair_style", ("long",)),
    "Curly_Hair": ("hair_style", ("curly",)),
    "Black_Hair": ("hair_color", ("black",)),
    "Blond_Hair": ("hair_color", ("blond",)),
    "Gray_Hair": ("hair_color", ("gray",)),
    "Pale_Skin": ("skin", ("light",)),
    "Dark_Skin": ("skin", ("brown", "dark")),
}
"""Name -> the attribute of the world that it asks for, and the values for which the answer is yes.

A hat can hide a bun or short hair, so neither is asked for; long and curly hair show beside every hat.
"""
FACE_ATTRIBUTES: dict[str, tuple[str, str]] = dict.fromkeys(_MEANS, NO_YES)
"""Name -> (value when absent, value when present)."""


def face_attributes(identity: Identity) -> dict[str, str]:
    """Every name of FACE_ATTRIBUTES with "yes" or "no" for a person; nothing for a subject that is no person."""
    if identity.species not in HUMANS:
        return {}
    own = identity.attributes()
    return {name: NO_YES[own[attribute] in values] for name, (attribute, values) in _MEANS.items()}
