"""The model card: YAML head for the Hub, then measured figures and how to run the files."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..prune.errors import InputError
from .hub_report import ReportDocument

TASK = "image-classification"
TAGS = ("pruning", "filter-pruning", "onnx", TASK)


SCORES = ("top1", "mean_average_precision", "fidelity", "output_fidelity")
"""What a score is called in report.json."""


def make_card(report: ReportDocument, files: Sequence[str]) -> str:
    """README.md of a Hub folder; a figure that the report does not have gets no row."""
    name = _name(report)
    parts = [
        _head(report, name),
        f"# {name}",
        f"A filter-pruned {_kind(report)}: filters were removed, not zeroed. "
        f"Asked for: {report.get('target') or 'not stated'}.",
        "## Measured",
        _table(report),
        _conditions(report),
        "## Files",
        "\n".join(f"- `{file}`" for file in files),
        "## Use",
        _usage(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _kind(report: ReportDocument) -> str:
    """What the network is."""
    if not _by_outputs(report):
        return "image classifier"
    part = report["model"].get("part")
    return f"vision network (only its {part})" if part else "vision network"


def _by_outputs(report: ReportDocument) -> bool:
    """Whether the network's outputs judged it, and are no class scores."""
    return "output_fidelity" in report


def _name(report: ReportDocument) -> str:
    model = report["model"]
    return f"{model.get('name') or model.get('arch') or 'network'}-pruned"


def _head(report: ReportDocument, name: str) -> str:
    """The YAML block of the Hub; without a measured accuracy it holds no result (fidelity is
    none)."""
    from huggingface_hub import EvalResult, ModelCardData

    if _by_outputs(report):  # which task it is for, nobody said
        head = ModelCardData(library_name="prune-dl", tags=[x for x in TAGS if x != TASK])
    else:
        head = ModelCardData(library_name="prune-dl", pipeline_tag=TASK, tags=list(TAGS))
    final = _at(report, "accuracy", "final")
    if final is not None:
        data = str(report["model"].get("data") or "unknown")
        result = EvalResult(
            task_type=TASK,
            dataset_type=data,
            dataset_name=data,
            dataset_split="test",
            metric_type="accuracy" if "top1" in final else "mean_average_precision",
            metric_value=round(_value(final), 4),
        )
        head.model_name, head.eval_results = name, [result]
    return f"---\n{head.to_yaml()}\n---"


def _at(report: ReportDocument, *keys: str) -> Any:
    """A nested value, None where any part of the way is missing."""
    value: Any = report
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _table(report: ReportDocument) -> str:
    rows: list[tuple[str, str, Callable[[Any], str]]] = [
        (f"{_measure(report)} (95 % interval), test part", "accuracy", _accuracy),
        ("fidelity (95 % interval), test part", "fidelity", _accuracy),
        ("output fidelity (95 % interval), test part", "output_fidelity", _accuracy),
        (f"{_at(report, 'metric', 'name')} (higher is better)", "metric", lambda x: f"{x:.4g}"),
        ("multiply-adds of one image", "macs", _millions),
        ("parameters", "params", _millions),
        ("ONNX file, MB", "size_bytes", lambda size: f"{size / 1e6:.2f}"),
        ("latency p50 / p90 / p99, ms", "latency_ms", _latency),
    ]
    lines = ["| | original | this network |", "|---|---|---|"]
    for title, key, show in rows:
        pair = (_at(report, key, "original"), _at(report, key, "final"))
        if pair != (None, None):
            cells = ["not measured" if value is None else show(value) for value in pair]
            if key in ("fidelity", "output_fidelity"):
                cells[0] = "by definition 100 %"
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _measure(report: ReportDocument) -> str:
    """What the accuracies are called."""
    original = _at(report, "accuracy", "original") or {}
    is_mean = "mean_average_precision" in original
    return "mean average precision" if is_mean else "top-1 accuracy"


def _value(entry: Mapping[str, float]) -> float:
    for name in SCORES:
        if name in entry:
            return entry[name]
    raise InputError(
        f"report.json has an accuracy with {', '.join(entry) or 'nothing'} in it; expected one of "
        f"{', '.join(SCORES)}; take the report of a finished run"
    )


def _accuracy(value: Mapping[str, float]) -> str:
    return f"{_value(value):.2%} ({value['low']:.2%} to {value['high']:.2%})"


def _millions(value: float) -> str:
    return f"{value / 1e6:.2f} M"


def _latency(value: Mapping[str, float]) -> str:
    return " / ".join(f"{value[key]:.2f}" for key in ("p50", "p90", "p99"))


def _conditions(report: ReportDocument) -> str:
    bench, cpu = _at(report, "benchmark"), _at(report, "environment", "cpu")
    lines = []
    if _at(report, "fidelity"):
        lines.append(
            "Fidelity: share of the images with the answer of the original network. They had no "
            "labels: how often that answer is right was not measured."
        )
    if _by_outputs(report):
        lines.append(
            "Output fidelity: 1 less the squared error of the outputs over their variance, against "
            "the original network; the mean over outputs. No label was read."
        )
    if bench:
        noisy = "; the machine was noisy" if bench.get("noisy") else ""
        lines.append(
            f"Latency on {bench['provider']}, batch {bench['batch_size']}, {bench['threads']} "
            f"threads, {cpu or 'unknown processor'}, both files in turns{noisy}."
        )
    if report.get("command"):
        lines.append(f"Made by `{report['command']}`; all figures are from `report.json`.")
    return "\n".join(lines)


def _usage(report: ReportDocument) -> str:
    size = report["model"].get("input_size")
    shape = ", ".join(map(str, size)) if size else "C, H, W"
    part = report["model"].get("part")
    name = "outputs" if _by_outputs(report) else "(logits,)"
    scale = ", normalised: config.json" if report["model"].get("mean") else ""
    fed = f"what {part} is given" if part else f"float32 (N, {shape}){scale}"
    return f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
{name} = session.run(None, {{"images": images}})  # {fed}
```

```python
from prune_dl.prune import load

network = load("model.safetensors")  # the smaller torch network, no pickle
```"""
