"""The ONNX file: one, complete, quiet, and the same function as the network."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from prune_dl.export import graph
from prune_dl.export.graph import export_onnx, opset_of, write_checked
from prune_dl.export.parity import AnswerRule, Parity, check_parity, compare_outputs
from prune_dl.export.scoring import score_file
from prune_dl.export.session import fixed_batch, open_session, run_session
from prune_dl.prune.errors import GateError, InputError, UsageError
from prune_dl.prune.scores import Accuracy
from torch import nn

INPUT_SIZE = (3, 8, 8)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(6 * 16, 5),
    )
    network[1].running_mean.uniform_(-1, 1)
    return network.train()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    path = folder / "deep" / "network.onnx"
    return export_onnx(small_network(), INPUT_SIZE, path, metadata={"labels": '["a", "b"]'})


def test_one_named_dynamic_file_with_metadata_and_no_source_paths(exported: Path) -> None:
    proto = onnx.load(exported)
    assert [path.name for path in exported.parent.iterdir()] == ["network.onnx"]
    assert [i.name for i in proto.graph.input] == ["images"]
    assert [o.name for o in proto.graph.output] == ["logits"]
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {p.key: p.value for p in proto.metadata_props}["labels"] == '["a", "b"]'
    assert b".py" not in exported.read_bytes()


def test_batch_norm_is_folded(exported: Path) -> None:
    operators = [node.op_type for node in onnx.load(exported).graph.node]
    assert "BatchNormalization" not in operators
    assert operators.count("Conv") == 1


def test_export_leaves_the_network_in_its_mode_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export_onnx(network, INPUT_SIZE, tmp_path / "a.onnx", metadata={}, opset=17)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert capfd.readouterr() == ("", "")
    assert opset_of(onnx.load(tmp_path / "a.onnx")) == 17


@pytest.mark.parametrize("num_images", [1, 3, 65])
def test_file_equals_network_at_any_batch_size(exported: Path, num_images: int) -> None:
    images = torch.randn(num_images, *INPUT_SIZE)
    parity = check_parity(exported, small_network(), images)
    assert parity.ok
    assert parity.num_images == num_images
    assert parity.max_relative_difference < 1e-5
    assert parity.top1_agreement == 1.0


@pytest.mark.parametrize("frozen", [True, False])
def test_parity_leaves_modes_and_running_statistics_as_they_were(
    exported: Path, frozen: bool
) -> None:
    network = small_network()
    network[1].train(not frozen)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    check_parity(exported, network, torch.randn(2, *INPUT_SIZE))
    assert [module.training for module in network] == [True, not frozen, True, True, True, True]
    assert all(torch.equal(before[name], x) for name, x in network.state_dict().items())


def test_static_batch_is_written_and_filled_up(tmp_path: Path) -> None:
    path = export_onnx(small_network(), INPUT_SIZE, tmp_path / "a.onnx", metadata={}, batch_size=4)
    session = open_session(path)
    images = torch.randn(6, *INPUT_SIZE)
    assert fixed_batch(session) == 4
    assert run_session(session, images.numpy()).shape == (6, 5)
    assert check_parity(path, small_network(), images).ok


def test_a_wrong_file_is_removed_and_named(tmp_path: Path, exported: Path) -> None:
    path = Path(shutil.copy(exported, tmp_path / "a.onnx"))
    network = small_network()
    with torch.no_grad():
        network[5].bias += 0.5
    with pytest.raises(GateError, match=r"a\.onnx differs from the network .* was removed"):
        check_parity(path, network, torch.randn(4, *INPUT_SIZE))
    assert not path.exists()


def test_parity_needs_images(exported: Path) -> None:
    with pytest.raises(InputError, match="no held-out image given"):
        check_parity(exported, small_network(), torch.zeros(0, *INPUT_SIZE))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_never_pass(value: float) -> None:
    good = np.array([[1.0, 2.0]])
    assert compare_outputs(good, good) == Parity(0.0, 0.0, 1.0, 1)
    assert not compare_outputs(good, np.array([[1.0, value]])).ok


def test_an_operator_set_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`opset=99` given; expected at most"):
        export_onnx(small_network(), INPUT_SIZE, tmp_path / "a.onnx", metadata={}, opset=99)
    assert list(tmp_path.iterdir()) == []


def test_a_network_too_large_for_one_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert graph.MAX_BYTES == 2**31 - 1
    network = small_network()
    tensors = network.state_dict().values()
    num_bytes = sum(t.numel() * t.element_size() for t in tensors)
    monkeypatch.setattr(graph, "MAX_BYTES", num_bytes)
    export_onnx(network, INPUT_SIZE, tmp_path / "a.onnx", metadata={})
    monkeypatch.setattr(graph, "MAX_BYTES", num_bytes - 1)
    with pytest.raises(InputError, match="one ONNX file holds at most 2 GiB; prune it further"):
        export_onnx(network, INPUT_SIZE, tmp_path / "b.onnx", metadata={})
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


class BranchOnValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_a_network_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="BranchOnValue cannot be exported to ONNX"):
        export_onnx(BranchOnValue(), INPUT_SIZE, tmp_path / "a.onnx", metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_check_leaves_the_old_file(tmp_path: Path, exported: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    broken = onnx.load(exported)
    broken.graph.node[-1].input[0] = "nobody writes this"
    with pytest.raises(onnx.checker.ValidationError):
        write_checked(broken, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_checked(onnx.load(exported), tmp_path / "file" / "a.onnx")


def test_accuracy_of_the_file_itself(exported: Path) -> None:
    network = small_network().eval()
    images = torch.randn(20, *INPUT_SIZE)
    labels = network(images).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % 5
    halves = [(images[:9].numpy(), labels[:9]), (images[9:].numpy(), labels[9:])]
    assert score_file(open_session(exported), halves) == Accuracy(15, 20)


def test_files_and_providers_that_cannot_be_used(tmp_path: Path, exported: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_session(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a graph")
    with pytest.raises(InputError, match=r"text\.onnx given; ONNX Runtime cannot open it"):
        open_session(tmp_path / "text.onnx")
    with pytest.raises(UsageError, match="`provider=quick` given; expected one of cpu, cuda"):
        open_session(exported, "quick")
    with pytest.raises(
        UsageError, match="`provider=coreml` given; expected one of the installed ONNX Runtime"
    ):
        open_session(exported, "coreml")


def test_a_provider_that_is_not_really_used_is_an_error(
    exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA works here, so it would really be used")
    with pytest.raises(UsageError, match="`provider=cuda` given"):
        open_session(exported, "cuda")
    assert capfd.readouterr() == ("", "")


def test_one_output_agrees_where_its_sign_does_and_several_labels_each_by_itself() -> None:
    network, file = (
        np.array([[-1.0], [1.0], [2.0], [-2.0]]),
        np.array([[-1.0], [-1.0], [2.0], [2.0]]),
    )
    assert compare_outputs(network, file).top1_agreement == 0.5
    rows, other = network.reshape(2, 2), file.reshape(2, 2)
    assert compare_outputs(rows, other, rule=AnswerRule(each_label=True)).top1_agreement == 0.5
    rule = AnswerRule(each_label=True, threshold=1.5)
    assert compare_outputs(rows, other, rule=rule).top1_agreement == 0.75
