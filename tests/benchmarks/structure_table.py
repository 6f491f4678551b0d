"""Table of all torchvision classifiers: trace, remove 40 %, prove, train, save, reload, export.

    python tests/benchmarks/structure_table.py --rows rows.jsonl    all models, the smallest first
    python tests/benchmarks/structure_table.py --models resnet18 vit_b_16 --no-onnx --no-peer
    python tests/benchmarks/structure_table.py --rows rows.jsonl --page docs/structure_table.md

Weights are random and batch norms have random statistics, so that an error cannot hide. Each
network runs in a process of its own with a time limit, on two images of `--size` pixels where its
code allows that. Its row is written to `--rows` at once; a row that is there is not run again.
`--page` writes the rows as a table and runs nothing. Torch-Pruning (a development dependency)
prunes the same network by L1 norm with the output layer named by hand, since it does not find it
itself.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARE = 0.4
Row = dict[str, Any]
COLUMNS = (
    ("layers", "layers", "{:d}"),
    ("whole", "whole", "{:d}"),
    ("macs_left", "MACs left", "{:.0%}"),
    ("check", "check", "{}"),
    ("error", "error", "{:.0e}"),
    ("onnx_error", "ONNX", "{:.0e}"),
    ("forward_s", "forward s", "{:.2f}"),
    ("trace_s", "trace s", "{:.2f}"),
    ("budget", "of its limit", "{:.0%}"),
)


def main() -> None:
    """Run every network that has no row yet; print rows, or write the page."""
    options = _parse()
    if options.child:
        warnings.simplefilter("ignore")
        child = _ours if options.child == "ours" else _peer
        print(json.dumps(child(options.models[0], options)))
        return
    rows = _read(options.rows)
    if options.page:
        options.page.write_text(page(list(rows.values())))
        return
    for name in options.models or _all_names():
        if name not in rows:
            rows[name] = _row(name, options)
            if options.rows:
                with options.rows.open("a") as file:
                    file.write(json.dumps(rows[name]) + "\n")
    print("\n" + summary(list(rows.values())))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="*", default=[], help="names; default: all torchvision")
    parser.add_argument("--size", type=int, default=224, help="pixels of the images, if allowed")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each network")
    parser.add_argument("--peer-timeout", type=float, default=60.0, help="the same, Torch-Pruning")
    parser.add_argument("--no-onnx", action="store_true", help="leave out the ONNX export")
    parser.add_argument("--no-peer", action="store_true", help="leave out Torch-Pruning")
    parser.add_argument("--rows", type=Path, help="keep the rows here, one JSON object a line")
    parser.add_argument("--page", type=Path, help="write the rows as a Markdown table, run nothing")
    parser.add_argument("--child", choices=("ours", "peer"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _all_names() -> list[str]:
    """All classifiers, the smallest first."""
    from torchvision import models

    def size(name: str) -> int:
        return int(next(iter(models.get_model_weights(name))).meta["num_params"])

    return sorted(models.list_models(module=models), key=size)


def _read(path: Path | None) -> dict[str, Row]:
    """Rows of an earlier run by name; the last one counts."""
    if path is None or not path.exists():
        return {}
    return {row["name"]: row for row in map(json.loads, path.read_text().splitlines())}


def _row(name: str, options: argparse.Namespace) -> Row:
    ours = _spawn("ours", name, options, options.timeout)
    skipped = {"outcome": "not run"}
    peer = skipped if options.no_peer else _spawn("peer", name, options, options.peer_timeout)
    row = {"name": name, "ours": ours, "peer": peer}
    print(_line(row), flush=True)
    return row


def _line(row: Row) -> str:
    """One row of the table."""
    ours, peer = row["ours"], row["peer"]
    cells = [
        form.format(ours[key]) if ours.get(key) is not None else "-" for key, _, form in COLUMNS
    ]
    theirs = peer["outcome"] + (f" {peer['seconds']:.2f} s" if "seconds" in peer else "")
    outcome = ours["outcome"] if ours["outcome"] == "ok" else f"**{ours['message'][:60]}**"
    return "| " + " | ".join([row["name"], outcome, *cells, theirs]) + " |"


def summary(rows: list[Row]) -> str:
    """How many of the networks got through, were proven exact, and were traced in time."""
    done = [row["ours"] for row in rows if row["ours"]["outcome"] == "ok"]
    exact = sum(x["check"] == "exact" for x in done)
    in_time = sum(x["budget"] <= 1 for x in done)
    exported = sum(x.get("onnx_error") is not None for x in done)
    peers = [row["peer"] for row in rows if row["peer"]["outcome"] != "not run"]
    pruned = sum(x["outcome"] == "ok" for x in peers)
    return (
        f"prune-dl: {len(done)} of {len(rows)} traced, cut, trained a step, saved, reloaded and "
        f"run; {exact} proven exact, {len(done) - exact} with norms that mix channels; {exported} "
        f"equal in ONNX Runtime; {in_time} of {len(done)} traced within 2 forward passes + 1 s. "
        f"Torch-Pruning: {pruned} of {len(peers)}."
    )


def page(rows: list[Row]) -> str:
    """The table, what stays whole with its reason, and where Torch-Pruning fails."""
    titles = ["network", "outcome", *(title for _, title, _ in COLUMNS), "Torch-Pruning"]
    lines = [summary(rows), "", "| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    lines += [_line(row) for row in sorted(rows, key=lambda row: row["name"])]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for reason in row["ours"].get("kept_whole", {}).values():
            reasons.setdefault(_general(reason), []).append(row["name"])
    lines += ["", "What stays whole, and why:", ""]
    for reason, names in sorted(reasons.items(), key=lambda item: -len(set(item[1]))):
        unique = sorted(set(names))
        shown = ", ".join(unique[:6]) + (", ..." if len(unique) > 6 else "")
        lines.append(f"- {reason}: {len(names)} layers of {len(unique)} networks ({shown})")
    lines += ["", "Where Torch-Pruning fails:", ""]
    failed = [row for row in rows if row["peer"]["outcome"] not in ("ok", "not run")]
    for row in sorted(failed, key=lambda row: row["name"]):
        peer = row["peer"]
        lines.append(f"- {row['name']}: {peer['outcome']} {peer.get('message', '')}".rstrip())
    return "\n".join(lines) + "\n"


def _general(reason: str) -> str:
    """A reason without the place it was found at."""
    return re.sub(r"\(.*?\)", "", re.sub(r"^\d+ of \d+ filters: ", "", reason)).replace("  ", " ")


def _spawn(child: str, name: str, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", child, "--models", name]
    command += ["--size", str(options.size)]
    command += ["--no-onnx"] if options.no_onnx else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"outcome": "timeout", "message": f"not done in {limit:.0f} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"outcome": "crash", "message": last[:300]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _network(name: str, size: int) -> tuple[Any, Any]:
    """The network in evaluation mode, with norms that do something, and two images."""
    import torch
    from torch import nn
    from torchvision import models

    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    fixed = name.startswith(("vit", "maxvit"))  # their code fixes the size of the image
    size = 224 if fixed else 299 if name == "inception_v3" else size  # 299: its auxiliary head
    model = models.get_model(name, weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.trunc_normal_(module.weight, std=0.02)  # the head of a ViT begins at zero
    return model.eval(), torch.randn(2, 3, size, size)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def _ours(name: str, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import torch
    from prune_dl.prune.structure.certificate import certify
    from prune_dl.prune.structure.cost import CostModel
    from prune_dl.prune.structure.plan import LayerPlan, Plan
    from prune_dl.prune.structure.surgery import kept_indices, remove
    from prune_dl.prune.structure.trace import trace

    model, images = _network(name, options.size)
    with torch.no_grad():
        forward_s = min(_timed(lambda: model(images))[1] for _ in range(3))
    structure, trace_s = _timed(lambda: trace(model, images))
    rng = np.random.default_rng(0)
    layers = []
    for group in structure.groups:
        stay = max(1, round(len(group.units) * (1 - SHARE)))
        kept = np.sort(rng.permutation(len(group.units))[:stay])
        layers.append(LayerPlan(group.name, len(group.units), tuple(kept.tolist())))
    plan = Plan(tuple(layers))
    smaller, remove_s = _timed(lambda: remove(model, structure, plan))
    certificate = certify(model, smaller, structure, plan, images)
    assert certificate.ok, certificate.reason
    cost = CostModel.of(model, structure)
    whole = np.array([layer.num_filters for layer in layers], dtype=np.int64)
    left = np.array([len(layer.kept) for layer in layers], dtype=np.int64)
    assert cost.params(left) == sum(p.numel() for p in smaller.parameters())
    row = {
        "outcome": "ok",
        "trace_s": trace_s,
        "forward_s": forward_s,
        "remove_s": remove_s,
        "budget": trace_s / (2 * forward_s + 1),
        "layers": len(structure.groups),
        "units": structure.num_units,
        "whole": len(structure.kept_whole),
        "kept_whole": dict(structure.kept_whole),
        "mixing": list(structure.mixing),
        "macs_left": cost.macs(left) / cost.macs(whole),
        "error": certificate.max_relative_error,
        "check": "exact" if certificate.applies else "mixing",
    }
    _reload(name, smaller, kept_indices(structure, plan), images)
    if not options.no_onnx:
        row["onnx_error"] = _onnx_error(smaller, images)
    _train_step(smaller, images)
    return row


def _reload(name: str, smaller: Any, kept: Any, images: Any) -> None:
    """Save, build again from the name alone, and compare bit for bit."""
    import torch
    from prune_dl.prune.inputs import recipe
    from prune_dl.prune.inputs.origin import Origin

    # The file names the architecture with the auxiliary heads, as it was pruned.
    heads = ":aux_logits=true" if name in ("googlenet", "inception_v3") else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        recipe.save(path, smaller, Origin(f"torchvision:{name}{heads}", 1000), kept, {})
        again = recipe.load(path)
    with torch.no_grad():
        assert torch.equal(again(images), smaller.eval()(images)), "the reloaded network differs"


def _onnx_error(smaller: Any, images: Any) -> float:
    """Largest relative difference between torch and ONNX Runtime."""
    import onnxruntime
    import torch
    from prune_dl.export.graph import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(smaller, tuple(images.shape[1:]), path, metadata={})
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})[:1]
    with torch.no_grad():
        expected = smaller(images)
    error = (expected - torch.from_numpy(found)).abs().max() / expected.abs().max()
    assert error < 1e-3, f"ONNX differs by {float(error):.1e}"
    return float(error)


def _train_step(model: Any, images: Any) -> None:
    """One step of SGD in training mode moves the weights."""
    import torch

    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    outputs = model(images)
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    optimizer.step()
    assert all(p.grad is None or p.grad.shape == p.shape for p in model.parameters())


def _peer(name: str, options: argparse.Namespace) -> dict[str, Any]:
    import torch
    import torch_pruning as tp
    from torch import nn

    model, images = _network(name, options.size)
    outputs = [
        layer
        for layer in model.modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == 1000)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == 1000)
    ]

    def prune() -> None:
        pruner = tp.pruner.MagnitudePruner(
            model,
            images,
            importance=tp.importance.MagnitudeImportance(p=1),
            pruning_ratio=SHARE,
            ignored_layers=outputs,
        )
        pruner.step()

    before = sum(p.numel() for p in model.parameters())
    _, seconds = _timed(prune)
    with torch.no_grad():
        model.eval()(images)
    after = sum(p.numel() for p in model.parameters())
    outcome = "ok" if after < before else "pruned nothing"
    return {"outcome": outcome, "seconds": seconds, "params_left": after / before}


if __name__ == "__main__":
    main()
