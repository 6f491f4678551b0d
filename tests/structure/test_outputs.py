"""What networks return: where their logits are, and what is said of those that have none."""

import copy
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from prune_dl.prune.errors import InputError
from prune_dl.prune.outputs import (
    NOT_FINITE,
    RANDOM_FORWARD,
    class_scores,
    largest_difference,
    logits_of,
    require_classifier,
    run_to_run_difference,
)
from prune_dl.prune.structure.certificate import certify
from prune_dl.prune.structure.cut import Cut
from prune_dl.prune.structure.surgery import remove
from prune_dl.prune.structure.tracing.trace import trace
from prune_dl.prune.structure.tracing.trial import Thinned
from torch import Tensor, nn
from torch.nn import functional as F

LOGITS = torch.arange(6.0).reshape(2, 3)
IMAGES = torch.randn(4, 3, 8, 8)


@pytest.mark.parametrize(
    "outputs",
    [
        LOGITS,
        (LOGITS, None),
        [LOGITS],
        {"loss": None, "logits": LOGITS},
        {"out": LOGITS, "aux": LOGITS + 1},
        SimpleNamespace(logits=LOGITS, hidden=None),
    ],
)
def test_logits_are_found_in_what_wraps_them(outputs: Any) -> None:
    assert logits_of(outputs) is LOGITS


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (LOGITS[:, :, None], "a tensor of 2 x 3 x 1"),
        (LOGITS.argmax(1), "a tensor of 2 int64"),
        (LOGITS.sum(), "a tensor of no axes"),
        (None, "NoneType"),
        ((), "a tuple of 0 ()"),
        (("a", LOGITS), "a tuple of 2 (str, 2 x 3)"),
        ({"pred": LOGITS}, "a dictionary (pred)"),
        (SimpleNamespace(scores=LOGITS), "SimpleNamespace"),
    ],
)
def test_what_has_no_logits_is_described(outputs: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        logits_of(outputs)
    assert str(refused.value).startswith(f"a network that returns {said} given; expected logits")


class Network(nn.Module):
    """A small classifier that does something to its logits (N, 3), or to its features."""

    def __init__(self, after: Any = None, before: Any = None, num_outputs: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        self.head = nn.Linear(8, num_outputs)
        self.after, self.before = after or (lambda x: x), before or (lambda x: x)

    def forward(self, images: Tensor) -> Any:
        return self.after(self.head(self.before(self.features(images)).mean((2, 3))))


MLP = nn.Sequential(nn.Linear(3 * 8 * 8, 16), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Network(num_outputs=1), "a network of 1 outputs given, for 3 labels; expected one"),
        (Network(num_outputs=4), "a network of 4 outputs given, for 3 labels; expected one"),
        (Network(lambda x: x.T), "3 rows of outputs for a batch of 4 given; expected one for"),
        (Network(lambda x: x / 0), NOT_FINITE),
        (Network(before=lambda x: F.dropout(x, 0.5)), RANDOM_FORWARD),
        (Network().half(), "inputs of float32 given to a network of float16; expected the same"),
        (MLP, "images of 3 x 8 x 8 given to a network whose first layer reads rows of 192 numbers"),
        (nn.Conv2d(1, 3, 3), "inputs of 3 x 8 x 8 given, on which Conv2d does not run (Given"),
    ],
)
def test_no_classifier_of_the_data_is_one_line(model: nn.Module, said: str) -> None:
    with pytest.raises(InputError) as refused:
        require_classifier(model, IMAGES, 3)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("after", [None, lambda x: x[:, 0], lambda x: (x.squeeze(1), None)])
def test_one_logit_for_two_labels_is_two_class_scores(after: Any) -> None:
    model = Network(after, num_outputs=1)
    require_classifier(model, IMAGES, 2)
    with torch.no_grad():
        z_N = model.head(model.features(IMAGES).mean((2, 3)))[:, 0]
        scores_NK = class_scores(model(IMAGES))
    assert torch.equal(scores_NK, torch.stack([torch.zeros_like(z_N), z_N], 1))
    with pytest.raises(InputError, match=r"a network of one output given, for 1 label; expected 2"):
        require_classifier(model, IMAGES, 1)


def test_a_classifier_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 3))
    before = copy.deepcopy(model.state_dict())
    require_classifier(model, IMAGES, 3)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())


def test_run_to_run_difference_is_zero_where_nothing_is_random() -> None:
    assert run_to_run_difference(Network(), IMAGES) == 0
    assert run_to_run_difference(Network(before=lambda x: F.dropout(x, 0.5)), IMAGES) > 0.1
    assert largest_difference([LOGITS], [LOGITS[:1]]) == float("inf")


def certificate_of(model: nn.Module) -> Any:
    structure = trace(model.eval(), IMAGES)
    cut = Cut(structure, Thinned())
    return certify(model, remove(model, cut), cut, IMAGES)


def test_a_certificate_names_a_random_forward() -> None:
    certificate = certificate_of(Network(before=lambda x: F.dropout(x, 0.5)))
    assert not certificate.ok
    assert certificate.reason == RANDOM_FORWARD
    assert certificate_of(Network()).ok


def test_code_that_cannot_run_in_float64_is_a_reason_and_no_crash() -> None:
    def with_floats_of_its_own(x: Tensor) -> Tensor:
        return (1e6 * x).sin() @ torch.eye(3)

    certificate = certificate_of(Network(with_floats_of_its_own).float())
    if not certificate.ok:
        assert re.search(r"in float32, and does not run in float64 \(.*dtype", certificate.reason)
