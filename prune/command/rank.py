"""`prune-dl rank`: measure every layer and filter of a network, remove nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...evaluate.report.filters import FilterColumns, write_filters_page
from ..errors import UsageError
from ..folder import bind_to, output_folder
from ..inputs.shown_labels import labels_to_show, read_shown_labels
from ..inputs.split import Batches
from ..job.budget import counted_plan
from ..job.kept import MEASURED, SPECTRUM, STATISTICS, Kept
from ..job.known import Case, Measured
from ..job.plan import check_removable, find_sensitivity, rank_by
from ..mechanism.files import filter_norms, save_spectrum, write_filters
from ..mechanism.network import TracedNetwork
from ..mechanism.paper import Sgd, frozen, measure_by_sgd
from ..mechanism.softmax import SOFTMAX_EPOCHS, spectrum_by_softmax
from ..mechanism.spectrum import Spectrum, measure
from ..mechanism.statistics import Statistics, collect
from ..progress import Progress, counted
from ..selection.criteria import Ranking
from ..structure.cost import CostModel
from ..structure.tracing.trace import trace
from ..structure.units import Structure
from .checks import check_rank, has_budget, marked
from .facts import case_facts, options_facts
from .home import shown_name, write_run
from .opening import default_out, open_case
from .run_log import log_of, stages_of
from .trees import Rank


def run_rank(options: Rank, command: str) -> Spectrum:
    """Write spectrum.safetensors, filters.csv, filters.html and run.json.

    Raises:
        UsageError: flags that do not go together.
        InputError: nothing of the network can be removed, or a file cannot be used.
        GateError: the budget whose filters are to be marked cannot be met.
    """
    check_rank(options)
    with output_folder(ranked_folder(options), resume=options.run.resume) as folder:
        return _fill(options, command, folder)


def ranked_folder(options: Rank) -> Path:
    """Where the results go."""
    name = default_out(options.network.model)
    return options.run.out or name.with_name(f"{name.name}-rank")


def _fill(options: Rank, command: str, folder: Path) -> Spectrum:
    """Everything that the output folder holds."""
    log = log_of(options.run, stages_of(options))
    names = read_shown_labels(options.label_names)
    where = (options.network, options.data, options.run)
    checkpoint, case = open_case(*where, log, options.labels_kept)
    names = labels_to_show(case.data.labels, checkpoint.origin, names)
    bind_to(folder, case_facts(checkpoint, case) | options_facts(options))
    case = replace(case, kept=Kept(folder), label_names=names)
    with log.stage("trace"):
        structure = trace(case.model, case.example)
        cost = CostModel.of(case.model, structure)
    check_removable(structure)
    statistics, spectrum = _measure(options, case, structure)
    measured = Measured(structure, cost, statistics, spectrum)
    with log.stage("rank"):
        ranking = rank_by(case, measured, options.rank, options.images)
        columns: dict[str, Any] = {
            "scores": ranking.scores,
            "kept": _kept(options, case, measured, ranking),
            "labels": case.data.labels,
        }
    norms = filter_norms(case.model, structure)
    save_spectrum(spectrum, folder / "spectrum.safetensors")
    write_filters(folder / "filters.csv", spectrum, norms, **columns)
    title = f"{shown_name(options.network.model)}, probe: {spectrum.probe}"
    page = folder / "filters.html"
    shown = FilterColumns(norms, columns["scores"], columns["kept"])
    labels = case.shown_labels
    write_filters_page(page, spectrum, shown, labels=labels, title=title, command=command)
    write_run(folder, command, options, case.data.name)
    return spectrum


def _measure(options: Rank, case: Case, structure: Structure) -> tuple[Statistics, Spectrum]:
    """Statistics of one pass, and the spectrum by the probe that was asked for."""
    network = case.traced(structure)
    if options.probe != "ridge" and case.data.multi_label:
        raise UsageError(
            f"`probe={options.probe}` given for data with several labels for an image; expected "
            "`probe=ridge`, which reads each label by itself; leave `probe` out"
        )
    if options.probe == "ridge":
        with case.log.stage("measure") as progress:
            return case.kept.once(
                "measured",
                lambda: measure(
                    network, *case.both_parts(options.images, progress, options.images)
                ),
                MEASURED,
            )
    sampled = options.probe == "softmax"
    train, held_out = case.training(options.images), case.held_out(options.images)
    with case.log.stage("measure") as progress:
        statistics = case.kept.once(
            "statistics.safetensors",
            lambda: collect(
                network,
                counted(train, progress, case.num_training(options.images)),
                sampled=sampled,
            ),
            STATISTICS,
        )
    with case.log.stage("train the probes") as progress:

        def train_probes() -> Spectrum:
            if not sampled:
                return _published(options, case, network, progress)
            sgd = Sgd.of(SOFTMAX_EPOCHS if options.probe_epochs is None else options.probe_epochs)
            return spectrum_by_softmax(network, statistics, held_out, sgd=sgd, progress=progress)

        return statistics, case.kept.once("spectrum.safetensors", train_probes, SPECTRUM)


def _published(options: Rank, case: Case, network: TracedNetwork, progress: Progress) -> Spectrum:
    """The spectrum by the published procedure."""
    epochs = Sgd.epochs if options.probe_epochs is None else options.probe_epochs
    sgd = Sgd.of(epochs, case.seed)

    def augmented(epoch: int) -> Batches:
        return case.data.train.batches(
            sgd.batch_size,
            device=case.device,
            augment=True,
            shuffle_seed=case.seed + epoch,
            limit=options.images,
        )

    source, held_out = frozen(network, augmented), case.held_out(options.images)
    return measure_by_sgd(network, source, held_out, sgd=sgd, progress=progress)


def _kept(
    options: Rank, case: Case, measured: Measured, ranking: Ranking
) -> Sequence[Sequence[int]] | None:
    """Positions that the budget would keep, per group; None without a budget."""
    if not has_budget(options):
        return None
    select = marked(options)
    measured = replace(measured, sensitivity=find_sensitivity(case, measured, select))
    plan = counted_plan(measured, ranking, select.budget, select)
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
