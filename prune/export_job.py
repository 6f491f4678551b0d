"""`prune-dl export`: one checked ONNX file of a network, or a run made ready for the Hub."""

from dataclasses import asdict, replace
from pathlib import Path

from ..export.deliver import deliver
from ..export.hub import write_hub_folder
from ..export.variants import Variant
from .config import Export, RunOptions
from .errors import UsageError
from .job import default_out, metadata_of, open_inputs
from .output import Diary, check_writable


def export_file(options: Export) -> dict[str, str | int | float]:
    """`prune-dl export`: one checked ONNX file, and what the check found."""
    out = options.run.out or default_out(options.network.model).with_suffix(".onnx")
    check_writable(out)
    diary = Diary(show=True)
    checkpoint, data, _ = open_inputs(options.network, options.data, options.run, diary)
    with diary.stage("export") as progress:
        exported = deliver(
            checkpoint.model.cpu(),
            data,
            out,
            Variant(
                opset=options.opset,
                batch_size=options.static_batch,
                embed_preprocess=options.embed_preprocess,
                half=options.fp16,
            ),
            metadata=metadata_of(data),
            int8=options.int8,
            max_drop=options.max_drop / 100,
            progress=progress,
        )
    return {
        "file": str(out),
        "size_bytes": exported.size_bytes,
        "held_out_top1": exported.top1,
        "held_out_images": exported.total,
        **asdict(exported.parity),
    }


def export_hub_folder(options: Export) -> dict[str, str | int | float]:
    """`prune-dl export --hub-folder`: a finished run, ready to be uploaded by its owner.

    Raises:
        UsageError: the folder is in use, or flags were given that only one new file can follow.
        InputError: `--model` is not the folder of a finished run.
    """
    assert options.hub_folder is not None
    plain = Export(network=options.network, data=options.data, hub_folder=options.hub_folder)
    if replace(options, run=RunOptions()) != plain or options.run.out:
        raise UsageError(
            "--hub-folder copies the files of a run as they are; give it without --out and "
            "without the flags of a new file"
        )
    folder = write_hub_folder(Path(options.network.model), options.hub_folder)
    return {"folder": str(folder), "files": ", ".join(sorted(p.name for p in folder.iterdir()))}
