"""What rides through a job: measured once, asked for by name."""

from typing import Any

import pytest
from prune_dl.prune import compress
from prune_dl.prune.job import known
from prune_dl.prune.job_options import JobOptions
from prune_dl.prune.options import BenchOptions, RetrainOptions, SelectOptions
from torch import nn
from torch.utils.data import DataLoader


def test_the_original_is_measured_once_on_held_out_images(
    trained: tuple[nn.Module, DataLoader[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two steps, with a budget that is searched, early stopping and a retraining to judge."""
    model, loader = trained
    measured: list[nn.Module] = []
    measure = known.measure_score

    def count(network: nn.Module, *args: Any, **options: Any) -> Any:
        measured.append(network)
        return measure(network, *args, **options)

    monkeypatch.setattr(known, "measure_score", count)
    compress(model, loader, 10, max_drop=5.0, epochs=1, patience=1, multiple=16)
    compress(model, loader, 10, keep=0.5, steps=2, epochs=1)
    assert measured.count(model) == 2


def test_a_case_with_its_own_network_is_itself(trained: tuple[nn.Module, Any]) -> None:
    case = known.Case(trained[0], None, None)  # type: ignore[arg-type]
    assert case.of(trained[0]) is case
    assert case.of(nn.Identity()) is not case


def test_compress_takes_every_option_of_a_job_by_name() -> None:
    groups = (SelectOptions, RetrainOptions, BenchOptions)
    assert set(JobOptions.__annotations__) == {
        name for group in groups for name in group.__dataclass_fields__
    }
