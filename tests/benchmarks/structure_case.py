"""One classifier in a process of its own: trace, remove 40 %, prove, train, save, reload, export.

    python tests/benchmarks/structure_case.py ours resnet18 --size 96
    python tests/benchmarks/structure_case.py peer resnet18 --size 96

prints one JSON object; `structure_table.py` makes a table of them. Weights are random and batch
norms have random statistics, so that an error cannot hide. There are two images of `--size` pixels
where the network's code allows that. Torch-Pruning (a development dependency), the peer, prunes the
same network by L1 norm with the output layer named by hand, since it does not find it itself.

Times are the processor's, on one thread, so that what else the machine does is not in them.
Memory is the most that the process grew by (resident set, from Linux): once for a forward pass,
once for a second trace, when everything that it imports is there.
"""

import argparse
import ctypes
import gc
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARE = 0.4
Row = dict[str, Any]


def main() -> None:
    """Print the row of one network."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("who", choices=("ours", "peer"))
    parser.add_argument("name", help="a torchvision classifier")
    parser.add_argument("--size", type=int, default=224, help="pixels of the images, if allowed")
    parser.add_argument("--no-onnx", action="store_true", help="leave out the ONNX export")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case = _ours if options.who == "ours" else _peer
    print(json.dumps(case(options.name, options)))


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
    """The result and the processor's seconds for it: those of an idle core, on one thread."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def _ours(name: str, options: argparse.Namespace) -> Row:
    import torch
    from prune_dl.prune.structure.cut import Cut
    from prune_dl.prune.structure.surgery import remove
    from prune_dl.prune.structure.tracing.trace import trace

    model, images = _network(name, options.size)
    with torch.no_grad():
        forward_s = min(_timed(lambda: model(images))[1] for _ in range(3))
    structure, trace_s = _timed(lambda: trace(model, images))
    plan = _plan(structure)
    smaller, remove_s = _timed(lambda: remove(model, Cut(structure, plan)))
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
        **_checked(model, smaller, structure, plan, images),
        **_memory(model, images),
    }
    _reload(name, smaller, Cut(structure, plan).kept, images)
    if not options.no_onnx:
        row["onnx_error"] = _onnx_error(smaller, images)
    _train_step(smaller, images)
    return row


def _plan(structure: Any) -> Any:
    """Keep 60 % of every layer, at random."""
    import numpy as np
    from prune_dl.prune.structure.plan import LayerPlan, Plan

    rng = np.random.default_rng(0)
    layers = []
    for group in structure.groups:
        stay = max(1, round(len(group.units) * (1 - SHARE)))
        kept = np.sort(rng.permutation(len(group.units))[:stay])
        layers.append(LayerPlan(group.name, len(group.units), tuple(kept.tolist())))
    return Plan(tuple(layers))


def _checked(model: Any, smaller: Any, structure: Any, plan: Any, images: Any) -> Row:
    """The certificate, and the costs that were counted against the network that was made."""
    import numpy as np
    from prune_dl.prune.structure.certificate import certify
    from prune_dl.prune.structure.cost import CostModel
    from prune_dl.prune.structure.cut import Cut

    certificate = certify(model, smaller, Cut(structure, plan), images)
    assert certificate.ok, certificate.reason
    cost = CostModel.of(model, structure)
    whole = np.array([layer.num_filters for layer in plan.layers], dtype=np.int64)
    left = np.array([len(layer.kept) for layer in plan.layers], dtype=np.int64)
    assert cost.params(left) == sum(p.numel() for p in smaller.parameters())
    return {
        "macs_left": cost.macs(left) / cost.macs(whole),
        "error": certificate.max_relative_error,
        "check": "exact" if certificate.applies else "mixing",
    }


def _memory(model: Any, images: Any) -> Row:
    """How much the process grows by; nothing where Linux does not say."""
    import torch
    from prune_dl.prune.structure.tracing.trace import trace

    if not Path("/proc/self/clear_refs").exists():
        return {}
    with torch.no_grad():
        forward_mib = _growth_mib(lambda: model(images))
    return {"forward_mib": forward_mib, "trace_mib": _growth_mib(lambda: trace(model, images))}


def _growth_mib(function: Callable[[], Any]) -> float:
    """Peak of the resident set over what it was before, with the allocator's spare memory gone."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = _status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    function()
    return max(_status_mib("VmHWM") - before, 0.0)


def _status_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def _reload(name: str, smaller: Any, kept: Any, images: Any) -> None:
    """Save, build again from the name alone, and compare bit for bit."""
    import torch
    from prune_dl.prune.inputs import pruned_file
    from prune_dl.prune.inputs.origin import Origin

    # The file names the architecture with the auxiliary heads, as it was pruned.
    heads = ":aux_logits=true" if name in ("googlenet", "inception_v3") else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        pruned_file.save_pruned(path, smaller, Origin(f"torchvision:{name}{heads}", 1000), kept, {})
        again = pruned_file.load_pruned(path)
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
