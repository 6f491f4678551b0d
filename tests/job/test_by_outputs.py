"""`compress` without labels: other outputs than class scores, and parts of networks."""

import json
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune import compress, load
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.job import by_outputs
from scenes.dense_networks import Autoencoder, Blobs, SuperResolution, UNet, conv
from scenes.detectors import Detector, detected
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import detection, segmentation

torch.manual_seed(0)


def loader(count: int = 64, **options: Any) -> DataLoader[Any]:
    return DataLoader(Blobs(count), batch_size=16, **options)


def fitted(model: nn.Module) -> nn.Module:
    """Batch norms that know the pictures: a network of sound numbers, as a trained one is."""
    return settled(model, [images for images, _ in loader()])


def settled(model: nn.Module, inputs: list[Any]) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
    with torch.no_grad():
        for x in inputs:
            model.train()(x)
    return model.eval()


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    return fitted(UNet(8))


@pytest.mark.parametrize("make", [UNet, SuperResolution, Autoencoder])
def test_repair_brings_outputs_back(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = fitted(make())
    before = {name: x.clone() for name, x in model.state_dict().items()}
    found = compress(model, loader(), macs=0.6, epochs=0, device="cpu")
    held_out = found.outcome.held_out
    assert held_out["original"].value == 1
    assert held_out["removed"].value < held_out["final"].value
    assert held_out["final"].value > 0.8
    assert held_out["final"].name == "output fidelity"
    assert found.planned.left.macs < 0.62 * found.planned.original.macs
    assert found.planned.ranking.criterion == "response"
    assert found.planned.measured.spectrum is None
    assert all(torch.equal(x, model.state_dict()[name]) for name, x in before.items())
    images = next(iter(loader()))[0]
    original, smaller = model(images), found.model(images)
    if isinstance(original, Tensor):
        original, smaller = {"": original}, {"": smaller}
    assert {n: x.shape for n, x in original.items()} == {n: x.shape for n, x in smaller.items()}
    if make is Autoencoder:
        assert set(held_out["final"].by_output) == {"picture", "code"}


def test_what_follows_the_inputs_is_not_looked_at(unet: nn.Module) -> None:
    class Alone(Dataset[Tensor]):
        images = Blobs(64).images

        def __len__(self) -> int:
            return 64

        def __getitem__(self, place: int) -> Tensor:
            return self.images[place]

    ours = compress(unet, loader(), keep=0.6, epochs=0)
    bare = compress(unet, DataLoader(Alone(), batch_size=16), keep=0.6, epochs=0)
    assert ours.planned.plan == bare.planned.plan
    assert any("nothing but inputs was read of the data" in note for note in ours.warnings)


def test_the_original_is_imitated(unet: nn.Module) -> None:
    brief = compress(unet, loader(), macs=0.4, epochs=3, lr=0.01)
    held_out = brief.outcome.held_out
    assert held_out["retrained"].value > held_out["repaired"].value
    assert held_out["final"].value == held_out["retrained"].value


def test_steep_errors_do_not_ruin_a_network_without_norms() -> None:
    torch.manual_seed(0)
    model = SuperResolution(8).eval()
    how: dict[str, Any] = {"keep": 0.5, "allocate": "uniform"}
    found = compress(model, loader(), epochs=3, lr=0.1, **how)
    assert found.outcome.held_out["retrained"].value > 0.5


def test_a_metric_is_reported_of_every_stage(unet: nn.Module) -> None:
    seen = []

    def negative_error(model: nn.Module) -> float:
        assert not model.training
        seen.append(model)
        images = Blobs(8).images
        return -float((model(images) - unet(images)).detach().square().mean())

    found = compress(unet, loader(), keep=0.5, epochs=0, metric=negative_error)
    assert list(found.metric) == ["original", "removed", "repaired", "final"]
    assert found.metric["original"] == 0
    assert found.metric["removed"] < found.metric["final"] < 0


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (lambda model: "good", "`metric` gave 'good' for the original network: not a number"),
        (lambda model: torch.tensor(torch.nan), r"`metric` gave tensor\(nan\) for the original"),
        (lambda model: [][0], r"`metric` raised IndexError \(list index out of range\) for the or"),
    ],
)
def test_a_metric_that_fails_on_the_original_ends_the_job_before_any_work(
    unet: nn.Module, monkeypatch: pytest.MonkeyPatch, metric: Any, words: str
) -> None:
    monkeypatch.setattr(by_outputs, "plan_and_carry_out", lambda *_: pytest.fail("it began"))
    with pytest.raises(UsageError, match=words):
        compress(unet, loader(), keep=0.5, epochs=0, metric=metric)


def test_a_metric_that_fails_later_is_not_a_number_and_ends_nothing(
    unet: nn.Module, tmp_path: Path
) -> None:
    answers = iter([0.5, nan, inf])

    def fails_on_others(model: nn.Module) -> float:
        for answer in answers:
            return answer
        raise ValueError("no object found\nat all")

    found = compress(unet, loader(), keep=0.5, epochs=0, metric=fails_on_others)
    assert [isnan(value) for value in found.metric.values()] == [False, True, True, True]
    assert "`metric` gave nan for the removed network: not a number" in found.warnings
    assert (
        "`metric` raised ValueError (no object found) for the final network: not a number"
        in found.warnings
    )
    assert found._repr_html_().count(">not a number<") == 3
    page = found.report(tmp_path, latency=False).read_text()
    assert "not a number</td>" in page
    metric = json.loads((tmp_path / "report.json").read_text())["metric"]
    assert (metric["original"], metric["removed"], metric["final"]) == (0.5, None, None)


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    torch.manual_seed(0)
    return settled(Detector(), [images for images, _ in detected(32)])


def test_a_part_is_pruned_within_the_whole(detector: nn.Module, tmp_path: Path) -> None:
    found = compress(detector, detected(48), macs=0.5, epochs=1, part="backbone", lr=1e-3)
    assert isinstance(found.model, Detector)
    assert found.part_model is found.model.backbone
    assert found.part_model is not detector.backbone
    assert len(found.part_model[0][0].weight) < 12
    assert found.part_model(torch.rand(1, 3, 8, 8)).shape == (1, 12, 4, 4)
    assert torch.equal(found.model.head.weight, detector.head.weight)
    assert found.outcome.held_out["final"].value > 0.7
    images = [Blobs(1).images[0]]
    assert found.model(images)[0].shape[1] == 2
    found.save(tmp_path / "smaller.safetensors")
    again = load(tmp_path / "smaller.safetensors", model=Detector())
    assert torch.equal(again(images)[0], found.model(images)[0])


def test_layers_of_a_part_go_by_either_name(detector: nn.Module) -> None:
    for whole in ("backbone.0.0", "0.0"):
        with pytest.raises(InputError, match="no filter of this network can be removed"):
            compress(detector, detected(8), keep=0.5, epochs=0, part="backbone", whole=whole)


def test_a_whole_detector_is_told_of_its_parts(detector: nn.Module) -> None:
    with pytest.raises(InputError, match=r"as `part` \(backbone, head\)"):
        compress(detector, detected(8), keep=0.5, epochs=0)
    with pytest.raises(UsageError, match=r"`part=neck` given; expected a part .* backbone, head"):
        compress(detector, detected(8), keep=0.5, epochs=0, part="neck")


def test_a_part_that_runs_several_times_counts_each_run() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = nn.Sequential(conv(3, 8), conv(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.tower(x).mean() + self.tower(x[..., ::2, ::2]).mean()

    torch.manual_seed(0)
    found = compress(fitted(Shared()), loader(32), keep=0.6, epochs=0, part="tower")
    assert any("runs several times" in note for note in found.warnings)
    assert found.outcome.held_out["final"].total == 2 * 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rank": "mechanism"}, "`rank=mechanism` given .* needs labels; expected one of response"),
        ({"allocate": "sr"}, "`allocate=sr` given"),
        ({"cut_depth": True}, "`cut_depth` given"),
        ({"distill": False}, "`distill=False` given"),
        ({"output": "out", "judge": "outputs"}, "`output=out` given for a network that is judged"),
        (
            {"judge": "answers", "part": "first"},
            "`judge=answers` given for a network that is judged",
        ),
        ({"num_labels": 2, "part": "first"}, "`num_labels=2` given for a network that is judged"),
    ],
)
def test_what_needs_labels_is_refused(unet: nn.Module, given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compress(unet, loader(), keep=0.5, epochs=0, **given)


def test_a_result_writes_its_file_and_its_report(unet: nn.Module, tmp_path: Path) -> None:
    found = compress(unet, loader(32), keep=0.5, epochs=0)
    done = found.export(tmp_path / "net.onnx")
    assert set(done.differences) == {"output"}
    page = found.report(tmp_path / "report", latency=False).read_text(encoding="utf-8")
    assert "output fidelity" in page
    values = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    final = found.outcome.held_out["final"]
    assert values["held_out"]["final"]["output_fidelity"] == final.value
    assert "output fidelity" in found._repr_html_()


@pytest.mark.slow
def test_its_report_has_latency_and_the_metric(unet: nn.Module, tmp_path: Path) -> None:
    def zero(model: nn.Module) -> float:
        return 0.0

    found = compress(unet, loader(32), keep=0.5, epochs=0, metric=zero, bench_seconds=0.1)
    found.report(tmp_path)
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert values["latency_ms"]["original"]["p50"] > 0
    assert values["parity"]["outputs"].keys() == {"output"}
    assert values["metric"] == {"name": "zero"} | dict.fromkeys(found.metric, 0.0)
    assert set(values["output_fidelity"].values()) == {None}
    assert "Your metric" in found._repr_html_()


def test_rows_of_numbers_are_class_scores_unless_told() -> None:
    torch.manual_seed(0)
    layers = (conv(3, 8), conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    embedding = fitted(nn.Sequential(*layers))
    images = DataLoader([(x,) for x in Blobs(32).images], batch_size=16)
    with pytest.raises(InputError, match="all with the network's answer"):
        compress(embedding, images, keep=0.6, epochs=0)
    told = compress(embedding, images, keep=0.6, epochs=0, judge="outputs")
    assert told.outcome.held_out["final"].name == "output fidelity"


def test_candidates_that_need_no_labels_compete(unet: nn.Module) -> None:
    found = compress(unet, loader(32), keep=0.5, epochs=0, rank="auto", allocate="uniform")
    assert set(found.planned.contest) == {"response", "l2"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_segmentation_networks_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    model = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=2)
    data = DataLoader(Blobs(48, 64), batch_size=8)
    model = settled(model, [images for images, _ in data])
    found = compress(model, data, macs=0.6, epochs=1, lr=1e-3)
    held_out = found.outcome.held_out
    assert held_out["removed"].value < held_out["repaired"].value <= held_out["final"].value
    assert found.planned.left.macs < 0.62 * found.planned.original.macs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("ssdlite320_mobilenet_v3_large", {}),
        ("fasterrcnn_mobilenet_v3_large_fpn", {"min_size": 96, "max_size": 160}),
        ("retinanet_resnet50_fpn", {"min_size": 64, "max_size": 96}),
    ],
)
def test_backbones_of_torchvisions_detectors(name: str, sizes: dict[str, int]) -> None:
    torch.manual_seed(0)
    make = getattr(detection, name)
    model = make(weights=None, weights_backbone=None, num_classes=3, **sizes).eval()
    with pytest.raises(InputError, match="part"):
        compress(model, detected(16), macs=0.6, epochs=0)
    found = compress(model, detected(16), macs=0.6, epochs=0, part="backbone", allocate="error")
    assert found.outcome.certificate.ok
    assert found.planned.left.macs < 0.62 * found.planned.original.macs
    images = [Blobs(1, 64).images[0]]
    assert set(found.model(images)[0]) == {"boxes", "scores", "labels"}
