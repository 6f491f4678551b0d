"""One network in a process of its own: trace, shrink to 0.6 of its filters, prove, count, train.

    python tests/benchmarks/structure_case.py ours timm:resnet18 --size 96
    python tests/benchmarks/structure_case.py peer torchvision:resnet18 --size 96

prints one JSON object; `structure_table.py` makes a table of them. What stands in a row is in
`docs/structure.md`. Processor time and memory are limited from when everything is imported.

Times are the processor's, on one thread, so that what else the machine does is not in them.
Memory is the most that the process grew by (resident set, from Linux): once for a forward pass,
once for a second trace, when everything that it imports is there.
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

KEEP = 0.6
GIB = 2**30
Row = dict[str, Any]


def main() -> None:
    """Print the row of one network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("who", choices=("ours", "peer"))
    parser.add_argument("spec", help="torchvision:NAME or timm:NAME")
    parser.add_argument("--size", type=int, default=96, help="pixels of the images, if allowed")
    parser.add_argument("--seconds", type=int, default=300, help="of the processor")
    parser.add_argument("--gib", type=float, default=16.0, help="address space")
    parser.add_argument("--onnx", action="store_true", help="export and compare")
    options = parser.parse_args()
    if options.who == "peer":
        os.environ["TIMM_FUSED_ATTN"] = "0"  # as in its example
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    case = _ours if options.who == "ours" else _peer
    print(json.dumps(case(options)))


def _limit(options: argparse.Namespace) -> None:
    """From here on so much processor time, and so much memory in all."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + options.seconds
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    size = int(options.gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the processor's seconds for it: those of an idle core, on one thread."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def _ours(options: argparse.Namespace) -> Row:
    import torch
    from prune_dl.prune import shrink
    from prune_dl.prune.structure.tracing.trace import trace
    from structure_networks import network_of

    model, images = network_of(options.spec, options.size)
    _limit(options)
    with torch.no_grad():
        forward_s = min(_timed(lambda: model(images))[1] for _ in range(3))
    structure, trace_s = _timed(lambda: trace(model, images))
    row: Row = {
        "pixels": images.shape[-1],
        "trace_s": trace_s,
        "forward_s": forward_s,
        "budget": trace_s / (2 * forward_s + 1),
        "layers": len(structure.groups),
        "whole": len(structure.kept_whole),
        "kept_whole": dict(structure.kept_whole),
        "unexplained": _unexplained(model, structure),
    }
    shrunk, row["shrink_s"] = _timed(lambda: shrink(model, images, keep=KEEP))
    stages: dict[str, Callable[[], Row]] = {
        "check": lambda: _checked(model, shrunk),
        "counted": lambda: _counted(model, shrunk, images),
        "memory": lambda: _memory(model, images),
        "reload": lambda: _reload(options.spec, shrunk, images),
        **({"onnx": lambda: _onnx_error(shrunk.model, images)} if options.onnx else {}),
        "train": lambda: _train_step(shrunk.model, images),
    }
    failed = {}
    for stage, run in stages.items():
        try:
            row |= run()
        except Exception as error:
            failed[stage] = f"{stage}: {type(error).__name__}: {error}".splitlines()[0][:300]
    outcome = {"outcome": "failed", "message": "; ".join(failed.values())} if failed else {}
    return {"outcome": "ok", **row, **outcome}


def _unexplained(model: Any, structure: Any) -> list[str]:
    """Convolutions and linear layers that are neither in the plan nor kept for a reason."""
    from torch import nn

    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    told = {writer for group in structure.groups for writer in group.writers}
    told |= set(structure.kept_whole)
    return [n for n, x in model.named_modules() if isinstance(x, kinds) and n not in told]


def _checked(model: Any, shrunk: Any) -> Row:
    """The certificate, and the share of the parameters that is left."""
    params, left = (sum(p.numel() for p in x.parameters()) for x in (model, shrunk.model))
    certificate = shrunk.certificate
    assert certificate.ok, certificate.reason
    return {
        "params_left": left / params,
        "error": certificate.max_relative_error,
        "check": "exact" if certificate.applies else "mixing",
    }


def _counted(model: Any, shrunk: Any, images: Any) -> Row:
    """Multiply-adds before and after against half of what PyTorch's own counter counts."""
    import numpy as np
    from prune_dl.prune.structure.cost import CostModel

    cost = CostModel.of(model, shrunk.structure)
    widths = [[layer.num_filters for layer in shrunk.plan.layers]]
    widths += [[len(layer.kept) for layer in shrunk.plan.layers]]
    before, after = (cost.macs(np.array(x, dtype=np.int64)) for x in widths)
    expected = [_count(x, images) for x in (model, shrunk.model)]
    right = [before, after] == expected
    ratios = [found / max(right, 1) for found, right in zip((before, after), expected, strict=True)]
    return {"macs_left": after / before, "counted_right": right, "count_ratios": ratios}


def _count(model: Any, images: Any) -> int:
    import torch
    from prune_dl.prune.forward import unfused_attention
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    learns = [x for x in model.parameters() if x.requires_grad]
    for parameter in learns:  # the counter hooks gradients, and fails where there are none
        parameter.requires_grad_(False)
    plain = torch.backends.mkldnn.flags(enabled=False)  # it does not count oneDNN's LSTM
    with torch.no_grad(), unfused_attention(), sdpa_kernel(SDPBackend.MATH), plain, counter:
        model(images)
    for parameter in learns:
        parameter.requires_grad_(True)
    return int(counter.get_total_flops()) // 2 // len(images)


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


def _reload(spec: str, shrunk: Any, images: Any) -> Row:
    """Save, build again from the name alone, and compare bit for bit."""
    import torch
    from prune_dl.prune.inputs import pruned_file
    from prune_dl.prune.inputs.origin import Origin

    # The file names the architecture with the auxiliary heads, as it was pruned.
    heads = spec in ("torchvision:googlenet", "torchvision:inception_v3")
    arch = spec + ":aux_logits=true" * heads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        pruned_file.save_pruned(path, shrunk.model, Origin(arch, 1000), shrunk.cut.kept, {})
        again = pruned_file.load_pruned(path)
    with torch.no_grad():
        same = torch.equal(again(images), shrunk.model.eval()(images))
    assert same, "the reloaded network differs"
    return {"reloaded": True}


def _onnx_error(smaller: Any, images: Any) -> Row:
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
    return {"onnx_error": float(error)}


def _train_step(model: Any, images: Any) -> Row:
    """One step of SGD in training mode moves the weights."""
    import torch

    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    outputs = model(images)
    outputs = getattr(outputs, "logits", outputs)
    logits = outputs[0] if isinstance(outputs, tuple | list) else outputs  # a distilled network
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    optimizer.step()
    assert all(p.grad is None or p.grad.shape == p.shape for p in model.parameters())
    return {"trained": True}


def _peer(options: argparse.Namespace) -> Row:
    import structure_peer
    import torch
    from structure_networks import network_of

    model, images = network_of(options.spec, options.size, batch=1)
    before = sum(p.numel() for p in model.parameters())
    __import__("torch_pruning")
    _limit(options)
    _, seconds = _timed(lambda: structure_peer.prune(model, images, 1 - KEEP))
    with torch.no_grad():
        model.eval()(images)
    after = sum(p.numel() for p in model.parameters())
    outcome = "ok" if after < before else "pruned nothing"
    return {"outcome": outcome, "seconds": seconds, "params_left": after / before}


if __name__ == "__main__":
    main()
