"""`prune-dl rank`: measure every layer and filter of a network, remove nothing."""

from typing import Any

from ..evaluate.filters_page import write_filters_page
from .config import Rank
from .job import default_out, open_inputs
from .mechanism.files import filter_norms, save_spectrum, write_filters
from .mechanism.spectrum import Spectrum, measure
from .output import Diary, output_folder
from .pipeline import BATCH_SIZE, example_of
from .selection.criteria import rank
from .structure.trace import trace


def run_rank(options: Rank, command: str) -> list[dict[str, Any]]:
    """Write spectrum.safetensors, filters.csv and filters.html; one row a layer.

    The rows hold success rate, filters, C_s, N_c, labels on the diagonal, noise and SNR.
    """
    model_name = options.network.model
    out = options.run.out or default_out(model_name).with_name(
        f"{default_out(model_name).name}-rank"
    )
    diary = Diary(show=True)
    with output_folder(out) as folder:
        checkpoint, data, device = open_inputs(options.network, options.data, options.run, diary)
        model = checkpoint.model
        with diary.stage("trace"):
            structure = trace(model, example_of(data, device))
        with diary.stage("measure") as progress:
            statistics, spectrum = measure(
                model,
                structure,
                data.train.batches(BATCH_SIZE, device=device, limit=options.images),
                data.held_out.batches(BATCH_SIZE, device=device, limit=options.images),
                len(data.labels),
                device=device,
                progress=progress,
            )
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
        norms = filter_norms(model, structure)
        save_spectrum(spectrum, folder / "spectrum.safetensors")
        write_filters(
            folder / "filters.csv", spectrum, norms, scores=ranking.scores, labels=data.labels
        )
        write_filters_page(
            folder / "filters.html",
            spectrum,
            norms,
            scores=ranking.scores,
            labels=data.labels,
            title=model_name,
            command=command,
        )
        (folder / "run.json").unlink()
    return layer_rows(spectrum)


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
