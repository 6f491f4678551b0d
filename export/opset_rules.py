"""How operators are written in older versions of ONNX where their schemas do not say it.

Shapes and dtypes stay as they are. Sources: the operator changelog of ONNX (docs/Changelog.md), and
for those that did not exist yet, the function body that ONNX defines them with.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


@dataclass(frozen=True, eq=False)
class GraphFacts:
    """What a graph says of its tensors, by name.

    Attributes:
        constants: those of whole numbers.
        sizes: shapes; None for a size that is free.
    """

    constants: Mapping[str, NDArray[Any]]
    sizes: Mapping[str, tuple[int | None, ...]]


NodeRule = Callable[[onnx.NodeProto, int, GraphFacts], Iterable[onnx.NodeProto]]
"""A node of the exporter's version, the version that is wanted -> nodes that stand for it there."""
HARD_SWISH = {"alpha": 1 / 6, "beta": 0.5}
"""x * HardSigmoid(x) with these is HardSwish, by its definition."""


class Unwritable(Exception):
    """An operator that an older version has no form of; its message names it."""


def constant_tensor_of(node: onnx.NodeProto) -> NDArray[Any]:
    """What a Constant node holds."""
    item = node.attribute[0]
    value = helper.get_attribute_value(item)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    whole = item.name in ("value_int", "value_ints")
    return np.asarray(value, np.int64 if whole else np.float32)


def _constant(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """Before 12 a constant is a tensor, never a list of numbers."""
    return [_tensor(constant_tensor_of(node), node.output[0])]


def _reshape(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """`allowzero` matters only for sizes of zero, which no image has."""
    shape = facts.constants.get(node.input[1])
    if shape is not None and (shape == 0).any() and _attribute(node, "allowzero", 0):
        raise Unwritable("Reshape to a size of zero")
    return [_without(node, "allowzero")]


def _softmax(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """Before 13, Softmax runs over its axis and all after it: the same for the last one only."""
    axis = _attribute(node, "axis", -1)
    if opset >= 13 or axis == -1:
        return [_with(node, axis=axis)]
    if node.op_type == "LogSoftmax":
        raise Unwritable("LogSoftmax over an axis that is not the last")
    source, name = node.input[0], node.output[0]
    return [
        _make("ReduceMax", [source], f"{name}_largest", axes=[axis], keepdims=1),
        _make("Sub", [source, f"{name}_largest"], f"{name}_shifted"),
        _make("Exp", [f"{name}_shifted"], f"{name}_exp"),
        _make("ReduceSum", [f"{name}_exp"], f"{name}_sum", axes=[axis], keepdims=1),
        _make("Div", [f"{name}_exp", f"{name}_sum"], name),
    ]


def _shape(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """Before 15, Shape gives all sizes; Slice takes some of them."""
    start, end = _attribute(node, "start", 0), _attribute(node, "end", None)
    name = node.output[0]
    if start == 0 and end is None:
        return [_without(node, "start")]
    last = np.iinfo(np.int64).max if end is None else end
    return [
        _make("Shape", [node.input[0]], f"{name}_all"),
        _tensor(np.array([start], np.int64), f"{name}_start"),
        _tensor(np.array([last], np.int64), f"{name}_end"),
        _make("Slice", [f"{name}_all", f"{name}_start", f"{name}_end"], name),
    ]


def _hard_swish(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """x HardSigmoid(x); HardSwish exists from 14 on."""
    name = node.output[0]
    return [
        _make("HardSigmoid", [node.input[0]], f"{name}_gate", **HARD_SWISH),
        _make("Mul", [node.input[0], f"{name}_gate"], name),
    ]


def _mish(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """x tanh(softplus(x)); Mish exists from 18 on."""
    name = node.output[0]
    return [
        _make("Softplus", [node.input[0]], f"{name}_softplus"),
        _make("Tanh", [f"{name}_softplus"], f"{name}_tanh"),
        _make("Mul", [node.input[0], f"{name}_tanh"], name),
    ]


def _layer_norm(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias; it exists from 17 on."""
    axis = _attribute(node, "axis", -1)
    if axis >= 0 or len(node.output) > 1:
        raise Unwritable("LayerNormalization")
    axes, name = list(range(axis, 0)), node.output[0]
    epsilon = np.array(_attribute(node, "epsilon", 1e-5), np.float32)
    scaled = name if len(node.input) < 3 else f"{name}_scaled"
    nodes = [
        _make("ReduceMean", [node.input[0]], f"{name}_mean", axes=axes, keepdims=1),
        _make("Sub", [node.input[0], f"{name}_mean"], f"{name}_centred"),
        _make("Mul", [f"{name}_centred"] * 2, f"{name}_squares"),
        _make("ReduceMean", [f"{name}_squares"], f"{name}_variance", axes=axes, keepdims=1),
        _tensor(epsilon, f"{name}_epsilon"),
        _make("Add", [f"{name}_variance", f"{name}_epsilon"], f"{name}_positive"),
        _make("Sqrt", [f"{name}_positive"], f"{name}_deviation"),
        _make("Div", [f"{name}_centred", f"{name}_deviation"], f"{name}_normalised"),
        _make("Mul", [f"{name}_normalised", node.input[1]], scaled),
    ]
    return nodes + ([] if scaled == name else [_make("Add", [scaled, node.input[2]], name)])


def _resize(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """Before 13 an input that is not used is an empty tensor, not absent."""
    if opset >= 13:
        return [node]
    name = node.output[0]
    inputs = [*node.input, "", ""][: max(3, len(node.input))]
    empty = [value or f"{name}_no_{index}" for index, value in enumerate(inputs)]
    made = [
        _tensor(np.zeros(0, np.float32), new)
        for old, new in zip(inputs, empty, strict=True)
        if not old
    ]
    result = _with(node)
    del result.input[:]
    result.input.extend(empty)
    return [*made, result]


def _split(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> list[onnx.NodeProto]:
    """Before 18 the parts have stated sizes, as an input from 13 on, or are equal."""
    axis = _attribute(node, "axis", 0)
    shapes = [facts.sizes.get(output, ()) for output in node.output]
    if len(node.input) > 1 or _attribute(node, "num_outputs", None) is None:
        return [node]
    sizes = [shape[axis] if -len(shape) <= axis < len(shape) else None for shape in shapes]
    if None in sizes:
        raise Unwritable("Split into parts of unknown sizes")
    plain = _without(node, "num_outputs")
    if opset < 13:
        return [_with(plain, split=sizes)]
    plain.input.append(f"{node.output[0]}_sizes")
    return [_tensor(np.array(sizes, np.int64), plain.input[1]), plain]


RULES: Mapping[str, NodeRule] = {
    "Constant": _constant,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "Mish": _mish,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Softmax": _softmax,
    "Split": _split,
}


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def _without(node: onnx.NodeProto, name: str) -> onnx.NodeProto:
    result = onnx.NodeProto()
    result.CopyFrom(node)
    kept = [item for item in node.attribute if item.name != name]
    del result.attribute[:]
    result.attribute.extend(kept)
    return result


def _with(node: onnx.NodeProto, **attributes: Any) -> onnx.NodeProto:
    """A copy, with these attributes in place of its own of that name."""
    result = onnx.NodeProto()
    result.CopyFrom(node)
    for name, value in attributes.items():
        result = _without(result, name)
        result.attribute.append(helper.make_attribute(name, value))
    return result


def _make(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], name=f"{output}_node", **attributes)


def _tensor(values: NDArray[Any], name: str) -> onnx.NodeProto:
    return _make("Constant", [], name, value=numpy_helper.from_array(values, name))
