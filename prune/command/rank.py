"""`prune-dl rank`: measure every layer and filter of a network, remove nothing."""

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ...evaluate.report.filters import FilterColumns, write_filters_page
from ..checks import check_budget, check_criterion
from ..errors import UsageError
from ..folder import Diary, output_folder
from ..inputs.split import DataSet
from ..job.judge import BATCH_SIZE, example_of
from ..job.plan import check_removable
from ..mechanism.files import filter_norms, save_spectrum, write_filters
from ..mechanism.forward import Batches
from ..mechanism.paper import Sgd, frozen, measure_by_sgd
from ..mechanism.softmax import EPOCHS as SOFTMAX_EPOCHS
from ..mechanism.softmax import spectrum_by_softmax
from ..mechanism.spectrum import Spectrum, measure
from ..mechanism.statistics import Statistics, collect
from ..options import Rank, SelectOptions
from ..selection.allocate import allocate
from ..selection.criteria import Ranking, rank
from ..structure.cost import CostModel
from ..structure.tracing.trace import trace
from ..structure.units import Structure
from .options_file import to_tables
from .prune import default_out, open_inputs


def run_rank(options: Rank, command: str) -> Spectrum:
    """Write spectrum.safetensors, filters.csv, filters.html and run.json.

    Raises:
        UsageError: flags that do not go together.
        InputError: nothing of the network can be removed, or a file cannot be used.
        GateError: the budget whose filters are to be marked cannot be met.
    """
    check_rank(options)
    name = default_out(options.network.model)
    diary = Diary(show=True)
    with output_folder(options.run.out or name.with_name(f"{name.name}-rank")) as folder:
        checkpoint, data, device = open_inputs(options.network, options.data, options.run, diary)
        model = checkpoint.model
        with diary.stage("trace"):
            structure = trace(model, example_of(data, device))
        check_removable(structure)
        statistics, spectrum = _measure(options, model, structure, data, device, diary)
        with diary.stage("rank"):
            ranking = rank(
                options.rank,
                model,
                structure,
                statistics=statistics,
                spectrum=spectrum,
                batches=data.train.batches(BATCH_SIZE, device=device, limit=options.images // 4),
                seed=options.run.seed,
            )
            columns: dict[str, Any] = {
                "scores": ranking.scores,
                "kept": _kept(options, ranking, model, structure, spectrum),
                "labels": data.labels,
            }
        norms = filter_norms(model, structure)
        save_spectrum(spectrum, folder / "spectrum.safetensors")
        write_filters(folder / "filters.csv", spectrum, norms, **columns)
        title = f"{options.network.model}, probe: {spectrum.probe}"
        page = folder / "filters.html"
        shown = FilterColumns(norms, columns["scores"], columns["kept"])
        write_filters_page(page, spectrum, shown, labels=data.labels, title=title, command=command)
        text = json.dumps({"command": command, "options": to_tables(options)}, indent=1)
        (folder / "run.json").write_text(text, encoding="utf-8")
    return spectrum


def check_rank(options: Rank) -> None:
    """What the flags of `prune-dl rank` must satisfy together.

    Raises:
        UsageError: epochs of a probe that has none; a bad budget.
    """
    check_criterion(options.rank)
    epochs = options.probe_epochs
    if epochs is not None and options.probe == "ridge":
        raise UsageError(
            f"--probe-epochs {epochs} given with --probe ridge, which has no epochs; "
            "add --probe softmax or --probe sgd, or leave it out"
        )
    if has_budget(options):
        check_budget(SelectOptions(keep=options.keep, macs=options.macs, params=options.params))


def has_budget(options: Rank) -> bool:
    """Whether filters are to be marked as kept or not."""
    return any(share is not None for share in (options.keep, options.macs, options.params))


def _measure(
    options: Rank,
    model: nn.Module,
    structure: Structure,
    data: DataSet,
    device: torch.device,
    diary: Diary,
) -> tuple[Statistics, Spectrum]:
    """Statistics of one pass, and the spectrum by the probe that was asked for."""
    num_labels = len(data.labels)
    train = data.train.batches(BATCH_SIZE, device=device, limit=options.images)
    held_out = data.held_out.batches(BATCH_SIZE, device=device, limit=options.images)
    if options.probe == "ridge":
        with diary.stage("measure") as progress:
            return measure(
                model, structure, train, held_out, num_labels, device=device, progress=progress
            )
    sampled = options.probe == "softmax"
    with diary.stage("measure") as progress:
        statistics = collect(
            model,
            structure.readers,
            train,
            num_labels,
            device=device,
            sampled=sampled,
            progress=progress,
        )
    if sampled:
        sgd = Sgd.of(SOFTMAX_EPOCHS if options.probe_epochs is None else options.probe_epochs)
        with diary.stage("train the probes") as progress:
            return statistics, spectrum_by_softmax(
                model, structure, statistics, held_out, device=device, sgd=sgd, progress=progress
            )
    return statistics, _published(options, model, structure, data, device, diary)


def _published(
    options: Rank,
    model: nn.Module,
    structure: Structure,
    data: DataSet,
    device: torch.device,
    diary: Diary,
) -> Spectrum:
    """The spectrum by the published procedure."""
    num_labels = len(data.labels)
    sgd = Sgd() if options.probe_epochs is None else Sgd.of(options.probe_epochs)

    def augmented(epoch: int) -> Batches:
        return data.train.batches(
            sgd.batch_size,
            device=device,
            augment=True,
            shuffle_seed=options.run.seed + epoch,
            limit=options.images,
        )

    with diary.stage("train the probes") as progress:
        return measure_by_sgd(
            model,
            structure,
            frozen(model, structure.readers, augmented, num_labels, device=device),
            data.held_out.batches(BATCH_SIZE, device=device, limit=options.images),
            num_labels,
            device=device,
            sgd=sgd,
            seed=options.run.seed,
            progress=progress,
        )


def _kept(
    options: Rank, ranking: Ranking, model: nn.Module, structure: Structure, spectrum: Spectrum
) -> Sequence[Sequence[int]] | None:
    """Positions that the budget would keep, per group; None without a budget."""
    if not has_budget(options):
        return None
    plan = allocate(
        ranking,
        structure,
        CostModel.of(model, structure),
        keep=options.keep,
        macs=options.macs,
        params=options.params,
        spectrum=spectrum,
    )
    return [layer.kept for layer in plan.layers]


def layer_rows(spectrum: Spectrum) -> list[dict[str, Any]]:
    """What the paper's tables list, a row a layer."""
    return [
        {
            "layer": group.name,
            "filters": len(group.snr_F),
            "SR": group.success_rate,
            "C_s": group.cluster_size,
            "N_c": group.clusters_per_filter,
            "diagonal": group.labels_on_diagonal,
            "noise": group.noise,
            "noise_in": group.noise_in,
            "SNR": group.snr,
        }
        for group in spectrum.groups
        if group is not None
    ]
