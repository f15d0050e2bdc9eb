"""Writes small ONNX files with the inputs and outputs of published ones, random but the same every time.

`onnx` and `onnxruntime` are needed; a test without them skips itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from likeness.encoders.face_probes import ProbeFacts, Probes, write_probes
from likeness.encoders.faces_onnx import TEMPLATE

DIMS = 16


class Graph:
    """An ONNX graph as it grows: nodes, and arrays named in the order in which they come."""

    def __init__(self, seed: int) -> None:
        self.onnx: Any = pytest.importorskip("onnx", reason="needs the test extra's onnx")
        pytest.importorskip("onnxruntime", reason="needs onnxruntime")
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []

    def array(self, values: Any) -> str:
        name = f"array_{len(self.arrays):03d}"
        self.arrays.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        return self.array((self.rng.normal(size=shape) * scale).astype(np.float32))

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def write(self, path: Path, *, takes: dict[str, Any], gives: dict[str, Any]) -> Path:
        helper, single = self.onnx.helper, self.onnx.TensorProto.FLOAT

        def infos(shapes: dict[str, Any]) -> list[Any]:
            return [helper.make_tensor_value_info(name, single, shape) for name, shape in shapes.items()]

        graph = helper.make_graph(self.nodes, "tiny", infos(takes), infos(gives), initializer=self.arrays)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.onnx.save(model, str(path))
        return path


def _rows(graph: Graph, conv: str, width: int, name: str) -> str:
    """A map (1, 2 width, h, w) as rows (2 h w, width): place by place, anchor by anchor."""
    turned = graph.add("Transpose", conv, perm=[0, 2, 3, 1])
    return graph.add("Reshape", turned, graph.array(np.array([-1, width], np.int64)), output=name)


def write_scrfd(path: Path, *, edge: int = 640) -> Path:
    """Always sees something: at every stride the strongest place scores 0.62, and few others more than 0.5."""
    graph = Graph(5)
    gives: dict[str, Any] = {}
    names = {kind: [f"{kind}_{stride}" for stride in (8, 16, 32)] for kind in ("score", "bbox", "kps")}
    for index, stride in enumerate((8, 16, 32)):
        kernel = {"kernel_shape": [stride, stride], "strides": [stride, stride]}

        def conv(channels: int, stride: int = stride, kernel: Any = kernel) -> str:
            return graph.add("Conv", "input.1", graph.weight(channels, 3, stride, stride, scale=1 / stride), **kernel)

        side = edge // stride
        raw = graph.add("Add", conv(2), graph.weight(1, 2, side, side, scale=0.5))  # flat pictures have a peak too
        apart = graph.add("Sub", raw, graph.add("ReduceMax", raw, keepdims=1))
        sharp = graph.add("Mul", apart, graph.array(np.float32(8)))
        score = graph.add("Sigmoid", graph.add("Add", sharp, graph.array(np.float32(0.5))))
        sides = graph.add("Add", graph.add("Abs", conv(8)), graph.array(np.float32(2)))
        shape = np.tile((TEMPLATE - 56).ravel() / 28, 2).astype(np.float32).reshape(1, 20, 1, 1)
        points = graph.add("Add", graph.add("Mul", conv(20), graph.array(np.float32(0.05))), graph.array(shape))
        _rows(graph, score, 1, names["score"][index])
        _rows(graph, sides, 4, names["bbox"][index])
        _rows(graph, points, 10, names["kps"][index])
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        gives |= {name: ["n", width] for name in names[kind]}
    return graph.write(path, takes={"input.1": [1, 3, edge, edge]}, gives=gives)


def write_arcface(path: Path, *, seed: int = 6) -> Path:
    graph = Graph(seed)
    conv = graph.add("Conv", "input.1", graph.weight(4, 3, 16, 16, scale=0.1), kernel_shape=[16, 16], strides=[16, 16])
    flat = graph.add("Flatten", conv, axis=1)
    graph.add("MatMul", flat, graph.weight(4 * 49, DIMS), output="683")
    return graph.write(path, takes={"input.1": ["n", 3, 112, 112]}, gives={"683": ["n", DIMS]})


def write_faces(folder: Path) -> Path:
    """A pack as insightface lays it out."""
    write_scrfd(folder / "det_10g.onnx")
    write_arcface(folder / "w600k_r50.onnx")
    return folder


def write_face_attributes(folder: Path) -> Path:
    """Probes of two attributes of the small benchmark, with the faces they belong to."""
    write_faces(folder / "faces")
    rng = np.random.default_rng(7)
    values = {"hat": ("none", "cap"), "color": ("red", "green")}
    facts = ProbeFacts(faces="./faces", faces_id=None, attributes=values)
    write_probes(folder, Probes(facts, *(rng.normal(size=size).astype(np.float32) for size in ((2, DIMS), (2,)))))
    return folder


def write_nsfw(folder: Path) -> Path:
    graph = Graph(8)
    mean = graph.add("ReduceMean", "input:0", axes=[1, 2], keepdims=0)
    graph.add("Softmax", graph.add("MatMul", mean, graph.weight(3, 2, scale=0.02)), axis=1, output="outputs")
    graph.write(folder / "open-nsfw.onnx", takes={"input:0": ["n", 224, 224, 3]}, gives={"outputs": ["n", 2]})
    return folder


def write_efficientnet(folder: Path) -> Path:
    import json

    import torch
    from safetensors.torch import save_file

    from likeness.encoders.efficientnet import EfficientNetLite

    settings = {"groups": [[1, 3, 1, 1, 8], [2, 5, 2, 2, 12]], "stem": 8, "head": 16}
    torch.manual_seed(9)
    folder.mkdir(parents=True, exist_ok=True)
    model = EfficientNetLite(settings["groups"], stem=8, head=16)
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


FURTHER = {
    "faces": write_faces,
    "face_attributes": write_face_attributes,
    "efficientnet": write_efficientnet,
    "nsfw": write_nsfw,
}
"""A small folder of each encoder of this file."""


def edited_onnx(file: Path, edit: Any) -> None:
    """`edit` changes the first tensor of the file, given and returned as torch has it."""
    import torch

    onnx: Any = pytest.importorskip("onnx")
    model = onnx.load(str(file))
    first = model.graph.initializer[0]
    changed = edit(torch.from_numpy(onnx.numpy_helper.to_array(first).copy()))
    first.CopyFrom(onnx.numpy_helper.from_array(changed.numpy(), first.name))
    onnx.save(model, str(file))


def write_yunet(path: Path) -> Path:
    """The outputs of YuNet: class, objectness, box and five points by stride; one place stands out at every stride."""
    graph, gives = Graph(10), dict[str, Any]()
    for stride in (8, 16, 32):
        kernel: dict[str, Any] = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        for kind, width, scale in (("cls", 1, 40.0), ("obj", 1, 40.0), ("bbox", 4, 0.2), ("kps", 10, 1.0)):
            weight = graph.weight(width, 3, stride, stride, scale=scale / stride / 255)
            turned = graph.add(
                "Transpose", graph.add("Conv", "input", weight, output=None, **kernel), perm=[0, 2, 3, 1]
            )
            rows = graph.add("Reshape", turned, graph.array(np.array([1, -1, width], np.int64)))
            name = f"{kind}_{stride}"
            graph.add("Sigmoid" if kind in ("cls", "obj") else "Identity", rows, output=name)
            gives[name] = [1, "n", width]
    return graph.write(path, takes={"input": [1, 3, "h", "w"]}, gives=gives)


def write_sface(path: Path) -> Path:
    graph = Graph(11)
    conv = graph.add("Conv", "data", graph.weight(4, 3, 16, 16, scale=0.01), kernel_shape=[16, 16], strides=[16, 16])
    flat = graph.add("Flatten", conv, axis=1)
    bias = graph.weight(1, 128)
    graph.add("Add", graph.add("MatMul", flat, graph.weight(4 * 49, 128, scale=0.1)), bias, output="fc1")
    return graph.write(path, takes={"data": [1, 3, 112, 112]}, gives={"fc1": [1, 128]})
