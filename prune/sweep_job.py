"""`prune-dl sweep`: one network at several budgets, from one pass of statistics.

Every budget becomes a folder with its network and its files in the wanted precisions; its figures
go to `point.json` when it is done, so that `--resume` only does what is missing. All accuracies
are those of the files themselves on held-out images: picking one of them is a choice, and choices
are not made on the test part. At the end all files are timed against each other, interleaved.
"""

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..evaluate.accuracy import Accuracy
from ..evaluate.latency import compare
from ..evaluate.tradeoff import Tradeoff, TradeoffPoint
from ..evaluate.tradeoff_page import write_tradeoff
from ..export.deliver import deliver
from ..export.variants import Variant
from .atomic import write_bytes
from .checks import check_budget
from .config import SelectOptions, Sweep
from .config_file import to_tables
from .distribute import ray_map
from .errors import InputError, PruneError, UsageError
from .inputs.checkpoint import Checkpoint
from .inputs.split import DataSet
from .job import default_out, metadata_of, open_inputs, save_network
from .output import Diary
from .pipeline import carry_out
from .planning import Planned, make_plan
from .selection.allocate import allocate

ORIGINAL = "original"


@dataclass(frozen=True)
class Budget:
    """One point that was asked for: `kind` ("keep" or "macs") and its share."""

    kind: str
    share: float

    @property
    def name(self) -> str:
        """As it is shown: "keep 0.5"."""
        return f"{self.kind} {self.share:g}"

    def select(self, options: Sweep) -> SelectOptions:
        """The options of a single job with this budget."""
        return SelectOptions(
            keep=self.share if self.kind == "keep" else None,
            macs=self.share if self.kind == "macs" else None,
            rank=options.rank,
            allocate=options.allocate,
            images=options.images,
        )


def budgets_of(options: Sweep) -> tuple[Budget, ...]:
    """The points of a sweep, in the order given, each once.

    Raises:
        UsageError: no budget, both kinds, or a share out of range.
    """
    if bool(options.keep) == bool(options.macs):
        raise UsageError("a sweep takes either --keep or --macs, with shares such as 0.9 0.7 0.5")
    kind, shares = ("keep", options.keep) if options.keep else ("macs", options.macs)
    budgets = tuple(Budget(kind, share) for share in dict.fromkeys(shares))
    for budget in budgets:
        check_budget(budget.select(options))
    return budgets


def run_sweep(options: Sweep, command: str) -> Tradeoff:
    """Do what is missing of a sweep, then time every file; writes tradeoff.{json,csv,html}.

    A budget that cannot be met, or a file that fails its check, is a row with its error.

    Raises:
        UsageError: impossible options, or an output folder that holds something else.
        InputError: network or data cannot be used.
    """
    budgets = budgets_of(options)
    stem = default_out(options.network.model)
    out = options.run.out or stem.with_name(f"{stem.name}-sweep")
    open_folder(out, options)
    diary = Diary(show=True)
    pending = [b for b in budgets if not point_file(out, b.name).exists()]
    if pending or not point_file(out, ORIGINAL).exists():
        _work(options, pending, out, diary)
    points = [p for name in (ORIGINAL, *(b.name for b in budgets)) for p in read_points(out, name)]
    tradeoff = _timed(options, command, points, out, diary)
    write_tradeoff(tradeoff, out)
    return tradeoff


def open_folder(out: Path, options: Sweep) -> None:
    """Make the output folder, or check that it holds an earlier part of the same sweep."""
    settings = to_tables(replace(options, keep=(), macs=()))
    for name in ("run", "bench", "distributed"):
        settings.pop(name, None)
    text = json.dumps(settings, indent=1, sort_keys=True)
    file = out / "sweep.json"
    if options.run.resume and file.exists():
        if file.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"--resume: --out {out} holds a sweep with other options; give another folder"
            )
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"--out {out} holds something already; give another folder, or --resume its sweep"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {out} cannot be written ({error.strerror}); give another"
        ) from None
    write_bytes(file, text.encode())


def point_file(out: Path, name: str) -> Path:
    """Where the figures of one network are kept."""
    return out / name.replace(" ", "-") / "point.json"


def write_points(out: Path, name: str, points: list[TradeoffPoint]) -> None:
    """Keep the figures of one network's files; this marks it as done."""
    file = point_file(out, name)
    file.parent.mkdir(exist_ok=True)
    write_bytes(file, json.dumps([asdict(point) for point in points], indent=1).encode())


def read_points(out: Path, name: str) -> list[TradeoffPoint]:
    """Read back what `write_points` wrote."""
    rows = json.loads(point_file(out, name).read_text(encoding="utf-8"))
    return [
        TradeoffPoint(**{**row, "accuracy": row["accuracy"] and Accuracy(**row["accuracy"])})
        for row in rows
    ]


def _work(options: Sweep, pending: list[Budget], out: Path, diary: Diary) -> None:
    """Measure once, then make the files of the original and of every missing budget."""
    checkpoint, data, device = open_inputs(options.network, options.data, options.run, diary)
    everything = Budget("keep", 1.0).select(options)
    planned = make_plan(
        checkpoint.model, data, everything, device=device, seed=options.run.seed, diary=diary
    )
    if not point_file(out, ORIGINAL).exists():
        files = _deliver(options, checkpoint.model, data, planned, out, ORIGINAL, diary)
        write_points(out, ORIGINAL, list(files))
    if options.distributed == "ray":
        sent = _Sent(options, planned, out.absolute(), Path.cwd())
        with diary.stage("points") as progress:
            results = ray_map(_points_of_task, sent, pending, gpu=device.type == "cuda")
            for done, (at, points) in enumerate(results):
                write_points(out, pending[at].name, points)
                progress(done + 1, len(pending))
        return
    for budget in pending:
        points = _points_of(options, budget, checkpoint, data, planned, device, out, diary)
        write_points(out, budget.name, points)


@dataclass(frozen=True)
class _Sent:
    """What a task needs besides its budget; network and data are opened where it runs."""

    options: Sweep
    planned: Planned
    out: Path
    working_folder: Path


def _points_of_task(sent: _Sent, budget: Budget) -> list[TradeoffPoint]:
    os.chdir(sent.working_folder)
    options, diary = sent.options, Diary()
    checkpoint, data, device = open_inputs(options.network, options.data, options.run, diary)
    return _points_of(options, budget, checkpoint, data, sent.planned, device, sent.out, diary)


def _points_of(
    options: Sweep,
    budget: Budget,
    checkpoint: Checkpoint,
    data: DataSet,
    planned: Planned,
    device: torch.device,
    out: Path,
    diary: Diary,
) -> list[TradeoffPoint]:
    """The files of one budget, or a row that says why there are none."""
    try:
        return _one(options, budget, checkpoint, data, planned, device, out, diary)
    except PruneError as error:
        return [TradeoffPoint(budget.name, error=" ".join(str(error).split()))]


def _one(
    options: Sweep,
    budget: Budget,
    checkpoint: Checkpoint,
    data: DataSet,
    planned: Planned,
    device: torch.device,
    out: Path,
    diary: Diary,
) -> list[TradeoffPoint]:
    """One budget: plan, carry out, save, and write its files."""
    select = budget.select(options)
    plan = allocate(
        planned.ranking,
        planned.structure,
        planned.cost,
        keep=select.keep,
        macs=select.macs,
        method=select.allocate,
        spectrum=planned.spectrum,
    )
    planned = replace(planned, plan=plan)
    folder = point_file(out, budget.name).parent
    folder.mkdir(exist_ok=True)
    outcome = carry_out(
        checkpoint.model,
        data,
        planned,
        select,
        options.retrain,
        device=device,
        seed=options.run.seed,
        diary=diary,
    )
    (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    save_network(folder, checkpoint, data, planned, outcome)
    return list(_deliver(options, outcome.final, data, planned, out, budget.name, diary))


def _deliver(
    options: Sweep,
    model: nn.Module,
    data: DataSet,
    planned: Planned,
    out: Path,
    name: str,
    diary: Diary,
) -> Iterator[TradeoffPoint]:
    """One file for every wanted precision, checked, with its own held-out accuracy."""
    left = planned.left()
    empty = TradeoffPoint(name, macs=left.macs, params=left.params)
    network = copy.deepcopy(model).cpu()
    for precision in precisions(options):
        path = point_file(out, name).with_name(f"{precision}.onnx")
        path.parent.mkdir(exist_ok=True)
        point = replace(empty, format=precision, file=str(path.relative_to(out)))
        try:
            with diary.stage(f"export {name} {precision}") as progress:
                exported = deliver(
                    network,
                    data,
                    path,
                    Variant(half=precision == "float16"),
                    metadata=metadata_of(data),
                    int8=precision == "int8",
                    max_drop=options.max_drop / 100,
                    progress=progress,
                )
        except PruneError as error:
            yield replace(point, error=" ".join(str(error).split()))
            continue
        accuracy = Accuracy(exported.correct, exported.total)
        yield replace(point, accuracy=accuracy, size_bytes=exported.size_bytes)


def precisions(options: Sweep) -> tuple[str, ...]:
    """The formats of a sweep's files."""
    return (
        "float32",
        *(("float16",) if options.fp16 else ()),
        *(("int8",) if options.int8 else ()),
    )


def _timed(
    options: Sweep, command: str, points: list[TradeoffPoint], out: Path, diary: Diary
) -> Tradeoff:
    """All files that passed their checks, timed against each other in turns."""
    files = {point.file: out / point.file for point in points if not point.error}
    if not files:
        reasons = "; ".join(point.error for point in points[:2])
        raise InputError(f"no file of this sweep passed its checks: {reasons}")
    bench = options.bench
    with diary.stage("benchmark") as progress:
        comparison = compare(
            files,
            provider=bench.provider,
            batch_size=bench.latency_batch,
            threads=bench.threads,
            seconds=bench.bench_seconds,
            progress=progress,
        )
    rows: dict[str, Any] = {row.name: row for row in comparison.rows}
    noisy = ["The machine was noisy (over 10 % variation): take the latencies with care."]
    return Tradeoff(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        points=tuple(
            point
            if point.error
            else replace(
                point,
                latency_ms=rows[point.file].p50_ms,
                latency_p90_ms=rows[point.file].p90_ms,
            )
            for point in points
        ),
        provider=comparison.rows[0].provider,
        batch_size=bench.latency_batch,
        environment=comparison.environment,
        warnings=(*diary.warnings, *(noisy if comparison.noisy else [])),
    )
