"""Table of all torchvision classifiers: trace, remove 40 %, prove, train, save, reload, export.

    python tests/benchmarks/structure_table.py                     all models, beside Torch-Pruning
    python tests/benchmarks/structure_table.py --only resnet18 vit_b_16 --no-onnx --no-peer

Weights are random and batch norms have random statistics, so that an error cannot hide. Each
network runs in a process of its own with a time limit. Prints one row per network; `--json FILE`
keeps all of it. Torch-Pruning (a development dependency) prunes the same network by L1 norm with
the output layer named by hand, since it does not find it itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARE = 0.4
COLUMNS = (
    ("trace_s", "trace s", "{:.2f}"),
    ("forward_s", "fwd s", "{:.2f}"),
    ("layers", "layers", "{:d}"),
    ("whole", "whole", "{:d}"),
    ("macs_left", "MACs", "{:.0%}"),
    ("error", "error", "{:.0e}"),
    ("check", "check", "{}"),
    ("onnx_error", "onnx", "{:.0e}"),
)


def main() -> None:
    """Run every network and print the table."""
    options = _parse()
    if options.child:
        warnings.simplefilter("ignore")
        child = _ours if options.child == "ours" else _peer
        print(json.dumps(child(options.only[0], options)))
        return
    names = options.only or _all_names()
    rows = [_row(name, options) for name in names]
    done = sum(row["ours"]["outcome"] == "ok" for row in rows)
    exact = sum(row["ours"].get("check") == "exact" for row in rows)
    peers = sum(row["peer"].get("outcome") == "ok" for row in rows)
    print(f"\nprune-dl {done} of {len(rows)}, exact {exact}; Torch-Pruning {peers} of {len(rows)}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="names; default: all of torchvision")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each network")
    parser.add_argument("--peer-timeout", type=float, default=60.0, help="the same, Torch-Pruning")
    parser.add_argument("--no-onnx", action="store_true", help="leave out the ONNX export")
    parser.add_argument("--no-peer", action="store_true", help="leave out Torch-Pruning")
    parser.add_argument("--json", type=Path, help="write all rows here")
    parser.add_argument("--child", choices=("ours", "peer"), help=argparse.SUPPRESS)
    return parser.parse_args()


def _all_names() -> list[str]:
    from torchvision import models

    return list(models.list_models(module=models))


def _row(name: str, options: argparse.Namespace) -> dict[str, Any]:
    ours = _spawn("ours", name, options, options.timeout)
    skipped = {"outcome": "not run"}
    peer = skipped if options.no_peer else _spawn("peer", name, options, options.peer_timeout)
    cells = [
        f"{label} {form.format(ours[key])}" if ours.get(key) is not None else f"{label} -"
        for key, label, form in COLUMNS
    ]
    theirs = f"{peer['seconds']:.2f} s" if "seconds" in peer else ""
    tail = f"| Torch-Pruning {peer['outcome']} {theirs}"
    print(f"{name:20s} {ours['outcome']:8s} {'  '.join(cells)} {tail}", flush=True)
    if ours["outcome"] != "ok":
        print(f"    {ours.get('message', '')}", flush=True)
    return {"name": name, "ours": ours, "peer": peer}


def _spawn(child: str, name: str, options: argparse.Namespace, limit: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", child, "--only", name]
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


def _network(name: str) -> tuple[Any, Any]:
    """The network in evaluation mode, with norms that do something, and two images."""
    import torch
    from torch import nn
    from torchvision import models

    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    size = 299 if name == "inception_v3" else 224
    size = 256 if name == "swin_v2_x" else size
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

    model, images = _network(name)
    with torch.no_grad():
        _, forward_s = _timed(lambda: model(images))
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

    model, images = _network(name)
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
