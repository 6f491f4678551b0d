"""Blue first or red first: fed as asked, kept, and hinted at where it was forgotten."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from prune_dl.export.metadata import describe, read_metadata
from prune_dl.export.variants import PixelScale, Variant, export_variant, to_pixels
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.inputs.checkpoint import Checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.datasets import wrap_datasets
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.preprocessing import Preprocessing
from prune_dl.prune.inputs.split import DataSet
from prune_dl.prune.options import DataOptions
from prune_dl.prune.settling.channel_order import hint_channel_order
from prune_dl.prune.settling.opened import Opened
from torch import Tensor, nn
from torch.utils.data import TensorDataset

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


class BlueFirst(nn.Module):
    """Tells red images from blue ones; takes blue as the first channel."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 2, 1, bias=False)
        weight = torch.tensor([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
        self.mix.weight.data = weight[:, :, None, None] * 5

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(images).mean((2, 3))


def colours(order: str | None) -> DataSet:
    randomness = torch.Generator().manual_seed(0)
    images = torch.randint(256, (200, 3, 4, 4), generator=randomness, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 2, 0, 0] = 255, torch.arange(200).remainder(2) * 255
    red, _, blue = images.int().sum((2, 3)).unbind(1)
    images, labels = images[red != blue], (red > blue).long()[red != blue]
    part = TensorDataset(images, labels)
    wanted = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, channel_order=order)
    return wrap_datasets("some", part, part, wanted, held_out=0.5)


def opened_with(data: DataSet) -> Opened:
    checkpoint = Checkpoint(BlueFirst().eval(), Origin(None, 2))
    return Opened(checkpoint, data, torch.device("cpu"))


def test_a_network_that_was_trained_on_blue_first_is_noticed() -> None:
    (note,) = hint_channel_order(opened_with(colours(None)), DataOptions()).checkpoint.notes
    assert note.startswith(
        "with its channels in the order bgr the network has 100.0 % of 100 held-out images right, "
        "0.0 % in the order rgb that it is fed now"
    )
    assert note.endswith("give `channel_order=bgr`")


def test_the_order_that_was_asked_for_is_fed_and_nothing_is_said() -> None:
    opened = opened_with(colours("bgr"))
    assert hint_channel_order(opened, DataOptions(channel_order="bgr")) is opened
    images, labels = next(opened.data.test.batches(50, device="cpu"))
    assert torch.equal(opened.checkpoint.model(images).argmax(1), labels)


def test_known_sets_and_folders_turn_their_channels_too() -> None:
    options = {"input_size": (3, 8, 8), "mean": MEAN, "std": STD}
    plain = open_data("digits", **{**options, "mean": MEAN[::-1], "std": STD[::-1]})
    turned = open_data("digits", **options, channel_order="bgr")
    assert turned.channel_order == "bgr"
    one, other = (next(data.train.batches(4, device="cpu"))[0] for data in (plain, turned))
    assert torch.equal(one.flip(1), other)


def test_raw_pixels_of_the_graph_stay_red_first(tmp_path: Path) -> None:
    data = colours("bgr")
    scale = PixelScale.of(data)
    images, labels = next(data.test.batches(8, device="cpu"))
    pixels = to_pixels(images, scale)
    train: TensorDataset = data.test.decode.dataset  # type: ignore[attr-defined]
    assert torch.equal(pixels, train.tensors[0][:8].permute(0, 2, 3, 1))
    path = tmp_path / "a.onnx"
    variant = Variant(embed_preprocess=True)
    export_variant(BlueFirst().eval(), images, path, variant, scale=scale, metadata=describe(data))
    (answer,) = onnxruntime.InferenceSession(path).run(None, {"images": pixels.numpy()})
    assert np.array_equal(answer.argmax(1), labels.numpy())
    assert read_metadata(path)["channel_order"] == "bgr"


def test_the_order_is_kept_in_the_origin_and_absent_where_it_is_usual() -> None:
    assert "channel_order" not in Origin("vgg6", 2).to_dict()
    assert "channel_order" not in describe(colours(None))
    turned = Origin("vgg6", 2, channel_order="bgr")
    assert Origin.from_dict(turned.to_dict()) == turned
    values = Origin("vgg6", 2, None, (), (1, 8, 8), (0.5,), (0.5,)).to_dict()
    with pytest.raises(InputError, match="order bgr of 1 channels"):
        Origin.from_dict({**values, "channel_order": "bgr"})


def test_an_order_without_colours_is_refused() -> None:
    with pytest.raises(UsageError, match="`channel_order=bgr` given for grey pictures"):
        open_data("digits", channel_order="bgr")
    floats = TensorDataset(torch.randn(8, 3, 4, 4), torch.arange(8) % 2)
    with pytest.raises(UsageError, match="`channel_order=bgr` given, but the items of x are float"):
        wrap_datasets("x", floats, floats, Preprocessing(channel_order="bgr"))
