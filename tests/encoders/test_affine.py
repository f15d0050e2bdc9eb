"""Heads: five linear layers are one affine map; the published one's constants, where its file is there."""

from pathlib import Path

import numpy as np
import pytest
from published_files import linear_layers, named_layers
from safetensors.numpy import save_file

from likeness.core.errors import WeightsError
from likeness.core.fetched import fetched
from likeness.encoders.affine import HEAD, Affine, collapsed, head_of, read_head, write_head


def layer_by_layer(x: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    for weight, bias in layers:
        x = weight @ x + bias
    return x


def test_the_map_equals_the_layers_one_by_one() -> None:
    layers = linear_layers(12)
    features = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)
    expected = [layer_by_layer(row.astype(np.float64), layers)[0] for row in features]
    np.testing.assert_allclose(collapsed(layers)(features), expected, rtol=1e-12)


def test_two_layers_by_hand() -> None:
    # 2 (x + 3 y + 1) - (4 x - y + 5) + 7 = -2 x + 7 y + 4
    layers = [(np.array([[1.0, 3.0], [4.0, -1.0]]), np.array([1.0, 5.0])), (np.array([[2.0, -1.0]]), np.array([7.0]))]
    head = collapsed(layers)
    assert head.weight.tolist() == [-2.0, 7.0]
    assert head.bias == 4.0


def test_the_public_layout_is_read_and_kept(tmp_path: Path) -> None:
    layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in linear_layers(12)]
    tensors = {name: tensor.numpy() for name, tensor in named_layers(linear_layers(12), prefix="layers.").items()}
    head = head_of(tensors, prefix="layers.")
    np.testing.assert_array_equal(head.weight, collapsed(layers).weight)
    write_head(head, folder=tmp_path)
    again = read_head(tmp_path, width=12)
    np.testing.assert_array_equal(again.weight, head.weight)
    assert again.bias == head.bias


def test_layers_that_do_not_fit_are_refused() -> None:
    layers = linear_layers(12)
    with pytest.raises(WeightsError, match=r"got layer 1 of \(5, 6\) and \(5,\) behind 8 numbers"):
        collapsed([layers[0], *layers[2:]])
    with pytest.raises(WeightsError, match="got 4 numbers"):
        collapsed(layers[:4])
    named = {name: tensor.numpy() for name, tensor in named_layers(layers, prefix="layers.").items()}
    with pytest.raises(WeightsError, match=r"expected a tensor layers\.6\.bias, got none"):
        head_of({name: array for name, array in named.items() if name != "layers.6.bias"}, prefix="layers.")


@pytest.mark.parametrize("bad", [{"weight": np.zeros(3)}, {"weight": np.zeros(4), "bias": np.array([np.nan])}])
def test_a_stored_head_of_another_shape_is_refused(bad: dict[str, np.ndarray], tmp_path: Path) -> None:
    save_file(bad, tmp_path / HEAD)
    with pytest.raises(ValueError, match=r"where finite weight \(4,\) and bias \(1,\) belong"):
        read_head(tmp_path, width=4)


def test_the_published_aesthetic_head_has_its_known_constants() -> None:
    """Collapsed once from the file with SHA-256 21dd590f..., which is the one that `fetch` accepts."""
    folder = fetched("aesthetic")
    if folder is None:
        pytest.skip("the aesthetic head is not fetched: likeness fetch aesthetic")
    head: Affine = read_head(folder, width=768)
    assert head.bias == pytest.approx(5.236645844819847, abs=1e-6)
    assert np.linalg.norm(head.weight) == pytest.approx(17.99562477643365, abs=1e-5)
    assert head.weight.sum() == pytest.approx(-9.792627021749107, abs=1e-5)
    first = [-0.6915934442661988, -0.556993867179748, -0.32116852185516154, -0.6314835540301614, -0.18479302174080234]
    np.testing.assert_allclose(head.weight[:5], first, atol=1e-6)
