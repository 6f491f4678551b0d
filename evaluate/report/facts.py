"""The small two-column tables at the foot of the page: how the figures were made."""

from typing import TYPE_CHECKING, Any

from . import words

if TYPE_CHECKING:
    from .lines import ModelLine
    from .report import Report


def facts(report: "Report") -> list[dict[str, Any]]:
    """Small two-column tables at the foot of the page."""
    tables: dict[str, dict[str, Any]] = {
        "Network": _network_facts(report),
        "Checks": _check_facts(report),
        "Latency": _latency_facts(report),
        "Repair": _repair_facts(report),
        f"Criteria tried (held-out {report.accuracy.name})": {
            name: words.percent(top1, 2) for name, top1 in report.contest.items()
        },
        "Environment": dict(report.environment),
    }
    return [
        {"title": title, "rows": {name: words.value(cell) for name, cell in rows.items()}}
        for title, rows in tables.items()
        if rows
    ]


def _repair_facts(report: "Report") -> dict[str, object]:
    """Held-out scores as per cent, as everywhere on the page."""
    return {
        name: words.percent(cell, 2)
        if isinstance(cell, float) and name.startswith("held-out")
        else cell
        for name, cell in report.repair.items()
    }


def _network_facts(report: "Report") -> dict[str, object]:
    model = report.model
    size = " × ".join(str(side) for side in model.input_size)
    sources = model.input_sources
    order = model.channel_order if len(model.mean) == 3 else ""
    rows = {
        "model": model.name,
        "architecture": model.arch,
        "pruned part": model.part,
        "data": model.data,
        "labels": model.num_labels if model.all_labels is None else "",
        "labels kept": _labels_kept(model),
        "input size": _with_source(size, sources.get("size")),
        "mean": _with_source(_numbers(model.mean), sources.get("scale")),
        "std": _with_source(_numbers(model.std), sources.get("scale")),
        "channel order": _with_source(order, sources.get("channel_order")),
        "SHA-256": model.sha256,
        "ranking": report.criterion,
        "allocation": words.allocation_name(report.allocation),
        "plan": report.plan_digest,
    }
    return {name: value for name, value in rows.items() if value}


def _labels_kept(model: "ModelLine") -> str:
    """Their names, and of how many they are; nothing where all were kept."""
    return (
        ""
        if model.all_labels is None
        else f"{', '.join(model.label_names or model.labels)} of {model.all_labels}"
    )


def _with_source(value: str, source: str | None) -> str:
    """A part of the preprocessing, and where it comes from."""
    return f"{value} ({source})" if value and source else value


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _check_facts(report: "Report") -> dict[str, object]:
    certificate, parity = report.certificate, report.parity
    if not certificate.applies:
        verdict = f"does not apply: {certificate.reason}"
    elif certificate.max_relative_error is None:
        verdict = "passed" if certificate.ok else f"failed: {certificate.reason}"
    else:
        verdict = "passed" if certificate.ok else "failed"
        error, tolerance = certificate.max_relative_error, certificate.tolerance
        verdict += f": relative error {error:.1e}, tolerance {tolerance:.0e}"
    rows: dict[str, object] = {"removed equals masked": verdict}
    if parity and parity.top1_agreement is None:
        each = ", ".join(f"{name} {x:.1e}" for name, x in parity.outputs.items())
        rows["ONNX against torch"] = (
            f"largest difference {parity.max_abs_difference:.1e} on {parity.num_images} images; "
            f"of the largest magnitude of each output: {each}"
        )
    elif parity:
        rows["ONNX against torch"] = (
            f"largest difference {parity.max_abs_difference:.1e}, same answer on "
            f"{words.percent(parity.top1_agreement, 2)} of {parity.num_images} images"
        )
        if parity.held_out:
            rows[f"held-out {parity.held_out.name} of the file"] = (
                f"{words.percent(parity.held_out.value, 2)} of {parity.held_out.total} images"
            )
    if report.peak_memory_bytes:
        rows["peak memory"] = words.size(report.peak_memory_bytes)
    return rows


def _latency_facts(report: "Report") -> dict[str, object]:
    latency, bench, rate = report.latency_ms, report.benchmark, report.images_per_second
    if latency is None or bench is None:
        return {}
    rows: dict[str, object] = {
        "provider": bench.provider,
        "batch size": bench.batch_size,
        "threads": bench.threads,
    }
    for name in ("p50", "p90", "p99", "mean", "std"):
        before, after = getattr(latency.original, name), getattr(latency.final, name)
        rows[name] = f"{before:.3g} → {after:.3g} ms"
    if rate:
        rows["images per second"] = f"{rate.original:.4g} → {rate.final:.4g}"
    return rows
