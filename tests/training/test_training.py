"""Training: it learns, stops, resumes bit for bit, and leaves frozen weights alone."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import GateError, InputError, UsageError
from prune_dl.prune.inputs.arrays import ArraySplit, Images
from prune_dl.prune.tasks import distillation_loss
from prune_dl.prune.training import device as devices
from prune_dl.prune.training.average import averaged_model
from prune_dl.prune.training.device import autocast, pick_device
from prune_dl.prune.training.recipe import Training, retraining
from prune_dl.prune.training.train import (
    Journal,
    TrainingData,
    measure_while_training,
    train_network,
)
from torch import nn

CPU = torch.device("cpu")


def easy_split(num_images: int = 96) -> ArraySplit:
    """Two labels that differ in brightness."""
    labels = torch.arange(num_images) % 2
    noise = torch.randint(0, 80, (num_images, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    pixels = (noise + 120 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    return ArraySplit(Images(pixels), torch.arange(num_images), labels, (0.5,), (0.25,))


EASY = TrainingData(easy_split())


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_and_logs() -> None:
    rows: list[dict[str, Any]] = []
    steps: list[tuple[int, int]] = []
    split = easy_split()
    trained = train_network(
        small_network(),
        TrainingData(split, held_out=split),
        Training(epochs=6, batch_size=16),
        device=CPU,
        journal=Journal(lambda done, total: steps.append((done, total)), rows.append),
    )
    assert measure_while_training(trained, split, CPU).value == rows[-1]["held_out_top1"] == 1.0
    assert not trained.training
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert steps[-1] == (36, 36)


def test_measuring_gives_every_module_its_own_mode_back() -> None:
    network = small_network().train()
    network[1].eval()  # type: ignore[index]
    modes = [module.training for module in network.modules()]
    before = copy.deepcopy(network)
    first = measure_while_training(network, EASY.train, CPU).value
    assert [module.training for module in network.modules()] == modes
    assert same_weights(network, before)
    assert measure_while_training(network.eval(), EASY.train, CPU).value == first


def test_no_epochs_change_nothing() -> None:
    network = small_network()
    before = copy.deepcopy(network)
    trained = train_network(network, EASY, Training(epochs=0), device=CPU)
    assert same_weights(trained, before)


def test_max_batches_end_a_training_early() -> None:
    steps: list[tuple[int, int]] = []
    training = Training(epochs=5, batch_size=16, max_batches=8)
    journal = Journal(lambda done, total: steps.append((done, total)))
    train_network(small_network(), EASY, training, device=CPU, journal=journal)
    assert steps[-1] == (8, 8)
    assert len(steps) == 8


def test_frozen_parameters_stay_frozen() -> None:
    network = small_network()
    network[0].requires_grad_(False)  # type: ignore[index]
    before = copy.deepcopy(network.state_dict())
    train_network(network, EASY, Training(epochs=1, batch_size=16), device=CPU)
    after = network.state_dict()
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["6.weight"], after["6.weight"])
    with pytest.raises(UsageError, match="frozen"):
        train_network(network.requires_grad_(False), EASY, Training(epochs=1), device=CPU)


class _Stop(Exception):
    pass


@pytest.mark.parametrize(
    "changes", [{}, {"mixup": 0.4}, {"averaging": 0.9}, {"patience": 5}, {"distill": 0.5}]
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    training = Training(epochs=4, batch_size=16, **changes)
    teacher = small_network(seed=5) if "distill" in changes else None

    def run(network: nn.Module, journal: Journal) -> nn.Module:
        data = TrainingData(EASY.train, held_out=EASY.train)
        return train_network(network, data, training, device=CPU, teacher=teacher, journal=journal)

    def stop_after_two(row: dict[str, Any]) -> None:
        if row["epoch"] == 3:
            raise _Stop

    whole = run(small_network(), Journal())
    with pytest.raises(_Stop):
        run(small_network(), Journal(log=stop_after_two, resume=tmp_path / "r.pt"))
    rows: list[dict[str, Any]] = []
    resumed = run(small_network(seed=9), Journal(log=rows.append, resume=tmp_path / "r.pt"))
    assert [row["epoch"] for row in rows] == [3, 4]
    assert same_weights(whole, resumed)


def test_dropout_follows_the_seed_and_leaves_the_callers_generator_alone() -> None:
    def run(seed: int, drawn_before: int) -> nn.Module:
        network = small_network()
        torch.rand(drawn_before)
        before = torch.get_rng_state()
        recipe = Training(epochs=2, batch_size=16, seed=seed)
        trained = train_network(network, EASY, recipe, device=CPU)
        assert torch.equal(torch.get_rng_state(), before)
        return trained

    first = run(0, 0)
    assert same_weights(first, run(0, 5))
    assert not same_weights(first, run(1, 0))


def test_every_epoch_drops_other_units() -> None:
    """The seed of dropout is not the same in every epoch: else half of the units never learn."""
    seen: list[torch.Tensor] = []
    network = small_network()
    network[3].register_forward_hook(
        lambda module, given, out: seen.append(nn.functional.dropout(torch.ones(64)))
    )
    split = easy_split(16)
    train_network(network, TrainingData(split), Training(epochs=2, batch_size=16), device=CPU)
    assert len(seen) == 2
    assert not torch.equal(*seen)


def test_a_resume_file_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.pt"
    training = Training(epochs=1, batch_size=16)

    def run(recipe: Training) -> None:
        train_network(small_network(), EASY, recipe, device=CPU, journal=Journal(resume=path))

    run(training)
    with pytest.raises(InputError, match=r"another `lr` \(0.1 then, 0.3 now\)"):
        run(replace(training, lr=0.3))
    values = torch.load(path)
    del values["randomness"]
    torch.save(values, path)
    with pytest.raises(InputError, match="remove it to start again"):
        run(training)
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="remove it to start again"):
        run(training)


def test_early_stopping_returns_the_best_epoch() -> None:
    split, network = easy_split(), small_network()
    tops: list[float] = []
    weights: list[dict[str, torch.Tensor]] = []

    def remember(row: dict[str, Any]) -> None:
        tops.append(row["held_out_top1"])
        weights.append(copy.deepcopy(network.state_dict()))

    training = Training(epochs=40, batch_size=16, patience=3)
    data = TrainingData(split, held_out=split)
    trained = train_network(network, data, training, device=CPU, journal=Journal(log=remember))
    best = tops.index(max(tops))
    assert len(tops) == best + 1 + 3 < 40
    for name, value in trained.state_dict().items():
        assert torch.equal(value, weights[best][name])
    assert not torch.equal(weights[best]["0.weight"], weights[-1]["0.weight"])
    with pytest.raises(UsageError, match="`patience=3` given without held-out images"):
        train_network(small_network(), TrainingData(split), training, device=CPU)


def test_a_pupil_approaches_its_teacher_and_leaves_it_alone() -> None:
    teacher = small_network(seed=3)
    before = copy.deepcopy(teacher)
    rows: list[dict[str, Any]] = []
    training = Training(epochs=6, batch_size=16, distill=1.0, lr=0.2)
    journal = Journal(log=rows.append)
    train_network(small_network(), EASY, training, device=CPU, teacher=teacher, journal=journal)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert same_weights(teacher, before)


def test_distillation_is_nought_for_equal_answers_and_matches_the_formula() -> None:
    one, other = torch.randn(5, 7), torch.randn(5, 7)
    assert distillation_loss(one, one, 4.0).abs() < 1e-6
    p, q = (torch.softmax(x.double() / 2, 1) for x in (other, one))
    by_hand = 4 * (p * (p.log() - q.log())).sum(1).mean()
    assert torch.allclose(distillation_loss(one, other, 2.0).double(), by_hand, atol=1e-6)


class Buffers(nn.Module):
    """A parameter with two names, and a buffer of each kind; the last is not in the state dict."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.tied = self.weight
        self.register_buffer("mean", torch.full((2,), value, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(int(value)))
        self.register_buffer("is_set", torch.tensor(value > 1))
        self.register_buffer("hidden", torch.full((2,), value), persistent=False)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_an_average_follows_its_recurrence_bit_for_bit(decay: float) -> None:
    model = Buffers(1.0)
    average = averaged_model(model, decay)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    randomness = torch.Generator().manual_seed(0)
    for step in range(1, 41):
        with torch.no_grad():
            for value in (model.weight, model.mean, model.hidden):
                value += torch.randn(value.shape, generator=randomness, dtype=value.dtype)
            model.count += 1
            model.is_set.logical_not_()
        average.update_parameters(model)
        share = 1 - min(decay, step / (step + 10))
        for name in ("weight", "tied", "mean"):
            expected[name] = expected[name].lerp(model.state_dict()[name], share)
        for name, value in average.module.state_dict().items():
            assert torch.equal(value, expected[name]), (step, name)
    assert average.module.weight.requires_grad
    assert not torch.equal(average.module.weight, model.weight)


def test_an_average_reaches_a_constant() -> None:
    model, other = small_network(1), small_network(2)
    average = averaged_model(model, 0.9)
    for _ in range(400):
        average.update_parameters(other)
    for a, b in zip(average.module.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_average_is_returned_and_can_be_trained_on() -> None:
    network = small_network()
    network[1].requires_grad_(False)  # type: ignore[index]
    training = Training(epochs=2, batch_size=16, averaging=0.9)
    averaged = train_network(network, EASY, training, device=CPU)
    assert type(averaged) is nn.Sequential
    assert averaged.state_dict().keys() == small_network().state_dict().keys()
    assert not same_weights(averaged, network)
    frozen = [p.requires_grad for p in averaged.parameters()]
    assert frozen == [p.requires_grad for p in network.parameters()]
    assert True in frozen
    assert False in frozen


def test_a_loss_that_explodes_is_reported() -> None:
    training = Training(epochs=3, batch_size=16, lr=1e30)
    with pytest.raises(GateError, match="smaller `lr`"):
        train_network(small_network(), EASY, training, device=CPU)


def test_a_last_batch_of_one_image_is_left_out() -> None:
    steps: list[tuple[int, int]] = []
    journal = Journal(lambda done, total: steps.append((done, total)))
    training = Training(epochs=1, batch_size=16)
    data = TrainingData(easy_split(33))
    train_network(small_network(), data, training, device=CPU, journal=journal)
    assert steps[-1] == (2, 2)


@pytest.mark.parametrize(
    "settings", [{"lr": 0.0}, {"epochs": -1}, {"batch_size": 1}, {"distill": 1.5}, {"momentum": -1}]
)
def test_a_recipe_out_of_range_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="given; expected"):
        Training(**settings)


def test_retraining_is_gentle_and_taught() -> None:
    recipe = retraining(2, batch_size=64)
    assert recipe.lr < Training().lr
    assert recipe.distill > 0
    assert recipe.batch_size == 64


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "cpu:3", "cuda:x"])
def test_a_device_that_is_not_there_is_an_error(name: str) -> None:
    with pytest.raises(UsageError, match=f"`device={name}` given"):
        pick_device(name)


def test_auto_always_finds_a_device() -> None:
    assert pick_device("auto").type in ("cuda", "mps", "cpu")
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize(
    ("groups", "half"), [(1, True), (2, True), (4, False)], ids=["full", "grouped", "depthwise"]
)
def test_bfloat16_is_not_for_depthwise_networks_on_cpus(
    groups: int, half: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_fast_bfloat16", lambda device: True)
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=groups), nn.Flatten(), nn.Linear(16, 2))
    with autocast(CPU, network):
        answers = network(torch.zeros(1, 4, 4, 4))
    assert (answers.dtype == torch.bfloat16) is half
