"""A watch that keeps everything it is shown."""

from torch import Tensor


class Seeing:
    """`layers` is layer -> target tokens and those of each reference; a layer comes once a pass."""

    def __init__(self, features: str = "attention_input", *, detached: bool = True) -> None:
        self.features, self.detached = features, detached
        self.layers: dict[str, list[Tensor]] = {}
        self.grids: set[tuple[int, int]] = set()

    def __call__(self, layer: str, target: Tensor, references: list[Tensor], grid: tuple[int, int], /) -> None:
        assert layer not in self.layers
        self.layers[layer] = [target, *references]
        self.grids.add(grid)
