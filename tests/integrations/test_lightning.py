"""The Lightning callback: when and how much, optimizer and schedule, checkpoints, refusals."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prune_dl.prune import UsageError
from prune_dl.prune.inputs.data import open_data
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

pytest.importorskip("lightning")
pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as lightning
    import pytorch_lightning
    from lightning.pytorch.callbacks import ModelCheckpoint
    from prune_dl.prune.integrations.lightning import PruneCallback, network_of


class Net(nn.Module):
    """Two convolutions with a residual branch, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.branch = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        stream = self.norm(self.first(images)).relu()
        return self.head((stream + self.branch(stream)).relu().mean((2, 3)))


def module_class(base: type[Any]) -> type[Any]:
    class Classifier(base):  # type: ignore[misc]
        """A module with a network and a learned temperature, trained by AdamW."""

        def __init__(self) -> None:
            super().__init__()
            self.net = Net()
            self.register_parameter("sharpness", nn.Parameter(torch.ones(())))
            self.rates: list[float] = []

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            images, labels = batch
            self.rates.append(self.optimizers().param_groups[0]["lr"])
            return cross_entropy(self.net(images) * self.sharpness, labels)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }

    return Classifier


Classifier = module_class(lightning.LightningModule)


@pytest.fixture(scope="module")
def loader() -> DataLoader[Any]:
    images, labels = next(iter(open_data("digits").train.batches(320, device="cpu")))
    return DataLoader(TensorDataset(images, labels), batch_size=64, shuffle=True)


def trainer(folder: Path, *callbacks: Any, epochs: int = 4, package: Any = lightning) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return package.Trainer(
        max_epochs=epochs, accelerator="cpu", default_root_dir=folder, callbacks=list(callbacks),
        enable_checkpointing=any(isinstance(x, ModelCheckpoint) for x in callbacks), **quiet,
    )  # fmt: skip


def fresh(kind: Callable[[], Any] = Classifier) -> Any:
    torch.manual_seed(0)
    return kind()


@pytest.mark.parametrize("package", [lightning, pytorch_lightning], ids=lambda x: x.__name__)
def test_a_budget_is_reached_in_steps_and_the_training_goes_on(
    package: Any, loader: DataLoader[Any], tmp_path: Path
) -> None:
    module = fresh(module_class(package.LightningModule))
    prune = PruneCallback(at_epochs=(1, 2), macs=0.25, network="net")
    run = trainer(tmp_path, prune, package=package)
    run.fit(module, loader)
    history = prune.removals.history
    assert [one.epoch for one in history] == [1, 2]
    shares = [one.after.macs / history[0].before.macs for one in history]
    assert shares == pytest.approx([0.5, 0.25], rel=0.1)
    assert module.net.first.out_channels == 8
    assert run.callback_metrics["left/macs"] == history[1].after.macs
    (optimizer,) = run.optimizers
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert held == {id(p) for p in module.parameters()}
    assert {int(state["step"]) for state in optimizer.state.values()} == {20}
    falls = [a > b for a, b in zip(module.rates, module.rates[1:], strict=False)]
    assert len(module.rates) == 20
    assert all(falls)


def test_a_training_resumed_from_a_checkpoint_ends_as_one_that_was_not_interrupted(
    loader: DataLoader[Any], tmp_path: Path
) -> None:
    in_order = DataLoader(loader.dataset, batch_size=64)
    whole, prune = fresh(), PruneCallback((1, 3), keep=0.5, network="net")
    trainer(tmp_path, prune).fit(whole, in_order)
    keep = ModelCheckpoint(tmp_path, save_last=True)
    trainer(tmp_path, PruneCallback((1,), keep=0.5**0.5, network="net"), keep, epochs=2).fit(
        fresh(), in_order
    )
    again, goes_on = fresh(), PruneCallback((1, 3), keep=0.5, network="net")
    trainer(tmp_path, goes_on).fit(again, in_order, ckpt_path=tmp_path / "last.ckpt")
    assert [one.epoch for one in goes_on.removals.history] == [1, 3]
    assert goes_on.removals.is_like(prune.removals)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_removals_that_a_resumed_training_has_missed_are_made_up_for_one_an_epoch(
    loader: DataLoader[Any], tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path, save_last=True)
    trainer(tmp_path, keep, epochs=2).fit(fresh(), loader)
    late = PruneCallback((0, 1), keep=0.5, network="net")
    trainer(tmp_path, late).fit(fresh(), loader, ckpt_path=tmp_path / "last.ckpt")
    assert [one.epoch for one in late.removals.history] == [2, 3]


def test_criteria_that_need_data_repair_and_a_checkpoint_comes_back_without_a_trainer(
    loader: DataLoader[Any], tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path, save_last=True)
    module, prune = fresh(), PruneCallback((2,), "response", keep=0.5, network="net", images=200)
    trainer(tmp_path, prune, keep, epochs=3).fit(module, loader)
    assert module.net.first.out_channels < 16
    back = PruneCallback.load(fresh(), tmp_path / "last.ckpt")
    images = next(iter(loader))[0]
    module.eval(), back.eval()
    with torch.inference_mode():
        torch.testing.assert_close(back.net(images), module.net(images))
    fresh_one = fresh()
    test = PruneCallback((2,), keep=0.5, network="net")
    fresh_one.test_step = lambda batch, batch_idx: fresh_one.log(
        "x", fresh_one.net(batch[0]).mean()
    )
    trainer(tmp_path, test).test(fresh_one, loader, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert fresh_one.net.first.out_channels == module.net.first.out_channels


def test_what_cannot_work_is_refused(loader: DataLoader[Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`at_epochs=\(4, 2\)` given; expected epochs from 0 on"):
        PruneCallback((4, 2), keep=0.5)
    with pytest.raises(UsageError, match="no budget given"):
        PruneCallback((1,))
    with pytest.raises(UsageError, match="`max_drop` given; expected a share"):
        PruneCallback((1,), max_drop=1.0)
    with pytest.raises(UsageError, match="`epochs` given to PruneCallback"):
        PruneCallback((1,), "response", keep=0.5, epochs=3)
    with pytest.raises(UsageError, match="`images` given with `criterion=l1`, which needs no data"):
        PruneCallback((1,), keep=0.5, images=10)
    with pytest.raises(UsageError, match="no `network` given for a Classifier with net"):
        trainer(tmp_path, PruneCallback((0,), keep=0.5)).fit(fresh(), loader)
    with pytest.raises(UsageError, match="`network=model` given"):
        trainer(tmp_path, PruneCallback((0,), keep=0.5, network="model")).fit(fresh(), loader)
    with pytest.raises(UsageError, match="a training of 4 epochs; expected epochs below 4"):
        trainer(tmp_path, PruneCallback((4,), keep=0.5, network="net")).fit(fresh(), loader)


def test_several_processes_and_compiled_networks_are_refused() -> None:
    prune = PruneCallback((0,), keep=0.5, network="net")
    with pytest.raises(UsageError, match="a training of 2 processes; expected one"):
        prune.setup(SimpleNamespace(world_size=2), fresh(), "fit")
    module = fresh()
    module.net = torch.compile(module.net)
    with pytest.raises(UsageError, match=r"a compiled or parametrised .* given; expected plain"):
        network_of(module, "net")


def test_a_checkpoint_of_other_filters_is_refused(loader: DataLoader[Any], tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, save_last=True)
    trainer(tmp_path, PruneCallback((0,), keep=0.5, network="net"), keep, epochs=1).fit(
        fresh(), loader
    )
    module, other = fresh(), PruneCallback((0,), keep=0.75, network="net")
    trainer(tmp_path, other, epochs=1).fit(module, loader)
    with pytest.raises(UsageError, match="other filters than the module has"):
        trainer(tmp_path, other).fit(module, loader, ckpt_path=tmp_path / "last.ckpt")
    torch.save({"callbacks": {}}, tmp_path / "none.ckpt")
    with pytest.raises(UsageError, match="expected a checkpoint of a training with PruneCallback"):
        PruneCallback.load(fresh(), tmp_path / "none.ckpt")


@pytest.mark.slow
def test_nothing_else_imports_lightning() -> None:
    import subprocess
    import sys

    words = "import sys, prune_dl.prune.api; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
