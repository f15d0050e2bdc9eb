"""Whether and how references get local tokens, by the folder of the model; imports no torch. See local_encoder.py."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import read_json
from likeness.core.spec import Spec

FOLDER_NAME = "local_encoder"
SETTINGS_NAME = "local_tokens.json"


class LocalSettings(Spec):
    """`encoder`: how the dense features are read (Table 2); `injection`: how local tokens join (Table 3).

    `side`: px at which the encoder sees a reference, four times the size that it was trained at without one (896 for
    CLIP bigG). `first_picture_for_all` repeats the public code.
    """

    encoder: Literal["local", "clip", "dino"] = "local"
    injection: Literal["concatenation", "linear", "addition"] = "concatenation"
    side: int | None = None
    first_picture_for_all: bool = False


def has_local_encoder(folder: Path) -> bool:
    """Whether the model's folder holds one."""
    return (folder / FOLDER_NAME).is_dir()


def uses_local_tokens(folder: Path, asked: bool | None) -> bool:
    """Whether references get local tokens: as asked for, without that where the folder has an encoder for them.

    Raises: ConfigError where they are asked for and there is none.
    """
    if asked and not has_local_encoder(folder):
        wanted = f"local_tokens: expected a model with {FOLDER_NAME}, got none in {folder.name}"
        raise ConfigError(f"{wanted}; copy the encoder of `likeness train local_encoder.toml` there, or set it false.")
    return has_local_encoder(folder) if asked is None else asked


def read_local_settings(place: Path) -> LocalSettings:
    """What the encoder's folder says, or what the paper does. Raises: WeightsError naming the file and the key."""
    path = place / SETTINGS_NAME
    if not path.is_file():
        return LocalSettings()
    try:
        return LocalSettings.model_validate(read_json(path))
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(map(str, mistake["loc"]))
        raise WeightsError(f"{path}: {key}: {mistake['msg']}, got {mistake['input']!r}; correct it.") from error
