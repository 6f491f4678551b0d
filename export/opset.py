"""Rewrite a graph for an older version of the ONNX operators, from 11 on.

torch's exporter writes `EXPORTER_OPSET` and later ones. This is the way below it, for two reasons:

- torch's converter gives the graph back as it was, since the converter of ONNX that it calls has no
  way down for common operators (ReduceMean 18, Relu 14);
- the exporter by tracing (`dynamo=False`) writes old operators, but is announced to be removed.

Between two versions most operators gain types that classifiers do not use. The rest follows from
their schemas: an attribute that did not exist goes where it has its default, and an input that was
an attribute becomes one. What is left are the rules of `opset_rules`. Every file is afterwards
checked against the schemas of its version, run, and compared with the network.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import onnx
import onnx.inliner
import onnx.version_converter
from numpy.typing import NDArray
from onnx import defs, helper, numpy_helper

from ..prune.checks import LEAST_OPSET
from ..prune.errors import UsageError, first_line
from .opset_rules import RULES, GraphFacts, Unwritable, constant_tensor_of
from .session import can_run

EXPORTER_OPSET = 18
"""The oldest that torch's exporter writes by itself; its operators are implemented for it."""
LAST_EXPORTER_OPSET = 23
"""The newest that it has operators for; for later ones it gives a graph of mixed versions."""
LEAST_INT8_OPSET = 13
"""Scales of each output channel need it: QuantizeLinear has an axis from there on."""


def require_opset(opset: int | None, *, int8: bool = False) -> None:
    """Find out before any work whether files of an operator set can be written and run here.

    Which networks can be written in it shows when one is.

    Raises:
        UsageError: below `LEAST_OPSET`, or later than the installed packages know; INT8 below
            `LEAST_INT8_OPSET`.
    """
    if opset is None:
        return
    if opset < LEAST_OPSET:
        raise UsageError(f"`opset={opset}` given; expected {LEAST_OPSET} or more")
    if int8 and opset < LEAST_INT8_OPSET:
        raise UsageError(
            f"`opset={opset}` given with `int8`; expected {LEAST_INT8_OPSET} or more, since scales "
            "of each channel need it; give that, or `int8=False`"
        )
    newest = newest_opset()
    if opset > newest:
        raise UsageError(
            f"`opset={opset}` given; expected at most {newest}, the newest that the installed ONNX "
            "Runtime runs; give that, or install a newer onnxruntime and onnx"
        )


@cache
def newest_opset() -> int:
    """The newest operator set that `onnx` writes and ONNX Runtime runs, tried with tiny graphs."""
    newest = defs.onnx_opset_version()
    return next(version for version in range(newest, EXPORTER_OPSET, -1) if can_run(version))


def exporter_opset(opset: int | None) -> int | None:
    """The version to ask torch's exporter for, from which `convert` goes on; None is its own.

    >>> [exporter_opset(version) for version in (11, 19, 26)]
    [18, 19, 23]
    """
    return opset and min(max(opset, EXPORTER_OPSET), LAST_EXPORTER_OPSET)


def convert(proto: onnx.ModelProto, opset: int | None) -> onnx.ModelProto:
    """The exporter's graph in the wanted version; None leaves it as it is.

    Later versions are the work of the converter of ONNX, which has a way up for every operator.

    Raises:
        UsageError: an operator cannot be written in it.
    """
    if opset is None or EXPORTER_OPSET <= opset <= LAST_EXPORTER_OPSET:
        return proto
    if opset < EXPORTER_OPSET:
        return lower(proto, opset)
    try:
        return onnx.version_converter.convert_version(proto, opset)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise UsageError(
            f"`opset={opset}` given; this network cannot be written in it ({first_line(error)}); "
            f"give `opset={LAST_EXPORTER_OPSET}`"
        ) from error


def lower(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The graph in the operators of `opset`, at most its own; the graph given is not changed.

    Raises:
        UsageError: an operator cannot be written in them; names it, and the least opset that works.
    """
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    facts = GraphFacts(_constants_of(proto.graph), _sizes_of(proto.graph))
    nodes = list(proto.graph.node)
    try:
        lowered = list(_lower_nodes(nodes, opset, facts))
    except Unwritable as error:
        least = _least_opset(nodes, opset + 1, facts)
        raise UsageError(
            f"`opset={opset}` given; {error} of this network needs a later one; "
            f"give `opset={least}` or more"
        ) from error
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    result.graph.node.extend(lowered)
    _drop_unread(result.graph)
    for entry in result.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = opset
    result.ir_version = min(result.ir_version, ir_version_of(opset))
    return result


def ir_version_of(opset: int) -> int:
    """The version of the file format that came with an operator set: its runtimes read it.

    >>> ir_version_of(13)
    7
    """
    version: int = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    return version


def _least_opset(nodes: Iterable[onnx.NodeProto], start: int, facts: GraphFacts) -> int:
    """The first version from `start` on that all nodes can be written in."""
    for opset in range(start, EXPORTER_OPSET):
        try:
            list(_lower_nodes(nodes, opset, facts))
        except Unwritable:
            continue
        return opset
    return EXPORTER_OPSET


def _lower_nodes(
    nodes: Iterable[onnx.NodeProto], opset: int, facts: GraphFacts
) -> Iterator[onnx.NodeProto]:
    """Every node in the operators of `opset`; a rule may make several of one.

    Raises:
        Unwritable: an operator cannot be.
    """
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            yield node
            continue
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise Unwritable(f"{node.op_type} with a graph inside")
        old, new = _schema(node.op_type, opset), _schema(node.op_type, EXPORTER_OPSET)
        if old is not None and new is not None and old.since_version == new.since_version:
            yield node
            continue
        rule = RULES.get(node.op_type)
        written = rule(node, opset, facts) if rule else [node]
        yield from (_by_schema(each, opset, facts) for each in written)


def _by_schema(node: onnx.NodeProto, opset: int, facts: GraphFacts) -> onnx.NodeProto:
    """One node with the attributes and inputs that its operator has in `opset`."""
    old, new = _schema(node.op_type, opset), _schema(node.op_type, EXPORTER_OPSET)
    if old is None or new is None:
        raise Unwritable(node.op_type)
    result = onnx.NodeProto()
    result.CopyFrom(node)
    _inputs_to_attributes(result, old, new, facts)
    unknown = [item for item in result.attribute if item.name not in old.attributes]
    for item in unknown:
        default = new.attributes[item.name].default_value if item.name in new.attributes else None
        if default is None or helper.get_attribute_value(item) != _value_of(default):
            raise Unwritable(f"{node.op_type} with {item.name}")
        result.attribute.remove(item)
    if len(result.input) > old.max_input:
        raise Unwritable(f"{node.op_type} with {len(result.input)} inputs")
    return result


def _inputs_to_attributes(
    node: onnx.NodeProto, old: defs.OpSchema, new: defs.OpSchema, facts: GraphFacts
) -> None:
    """Take the inputs of a new node that were attributes out of it: axes, split."""
    named = list(zip([entry.name for entry in new.inputs], node.input, strict=False))
    moved = [(name, value) for name, value in named if name in old.attributes]
    if not moved:
        return
    for name, value in moved:
        if value and value not in facts.constants:
            raise Unwritable(f"{node.op_type} with computed {name}")
        if value:
            numbers = [int(x) for x in facts.constants[value].reshape(-1)]
            node.attribute.append(helper.make_attribute(name, numbers))
    if any(value for _, value in moved):
        # What an empty list of axes means matters only where the list is empty.
        kept = [item for item in node.attribute if item.name != "noop_with_empty_axes"]
        del node.attribute[:]
        node.attribute.extend(kept)
    del node.input[:]
    node.input.extend(value for name, value in named if name not in old.attributes)


def _value_of(attribute: onnx.AttributeProto) -> object:
    """Value of a schema's default; None where it has none."""
    kind = onnx.AttributeProto.UNDEFINED
    return None if attribute.type == kind else helper.get_attribute_value(attribute)


@cache
def _schema(operator: str, opset: int) -> defs.OpSchema | None:
    """What an operator takes in a version; None where it does not exist yet."""
    try:
        return defs.get_schema(operator, opset, "")
    except defs.SchemaError:
        return None


def _constants_of(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Whole-number constants by name: axes, sizes, shapes."""
    found = {
        item.name: numpy_helper.to_array(item)
        for item in graph.initializer
        if item.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    }
    nodes = [node for node in graph.node if node.op_type == "Constant"]
    return found | {node.output[0]: constant_tensor_of(node) for node in nodes}


def _sizes_of(graph: onnx.GraphProto) -> dict[str, tuple[int | None, ...]]:
    """Shapes that the exporter noted, by name of the tensor."""
    return {
        item.name: tuple(
            axis.dim_value if axis.HasField("dim_value") else None
            for axis in item.type.tensor_type.shape.dim
        )
        for item in (*graph.value_info, *graph.input, *graph.output)
    }


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Remove constants that no node reads any more."""
    read = {name for node in graph.node for name in node.input} | {x.name for x in graph.output}
    kept = [item for item in graph.initializer if item.name in read]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)
