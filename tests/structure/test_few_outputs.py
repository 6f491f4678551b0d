"""Columns of logits that go: what they take with them, that the others stay, and who is refused."""

import copy

import pytest
import torch
from prune_dl.prune.chosen_output import hook_output
from prune_dl.prune.errors import InputError
from prune_dl.prune.structure.surgery import keep_positions
from prune_dl.prune.structure.tracing.few_outputs import keep_outputs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

LABELS, KEPT = 6, [1, 3, 4]
IMAGES = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Head(nn.Module):
    """Two convolutions, and an end that the tests vary."""

    def __init__(self, width: int = 7) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))
        self.last = nn.Linear(width, LABELS)

    def features(self, images: Tensor) -> Tensor:
        return self.body(images).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.features(images))


class Convolution(Head):
    """A convolution of 1 x 1 gives a map for each label, which is pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(7, LABELS, 1)

    def forward(self, images: Tensor) -> Tensor:
        return F.relu(self.last(self.body(images))).mean((2, 3))


class Scaled(Head):
    """Without a bias, scaled, in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(7, LABELS, bias=False)
        self.scale = nn.Parameter(torch.arange(1.0, LABELS + 1))

    def forward(self, images: Tensor) -> Tensor:
        return (self.last(self.features(images)) * self.scale).flip(1)


class Ensemble(Head):
    """Two heads, whose answers are added."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(7, LABELS)

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        return self.last(features) + self.other(features)


class Auxiliary(Head):
    """A second output, which keeps its width."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(7, LABELS)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images)
        return self.last(features), self.other(features)


class LogSoftmax(Head):
    """Logarithms of probabilities."""

    def forward(self, images: Tensor) -> Tensor:
        return F.log_softmax(super().forward(images), dim=1)


class Softmax(Head):
    """Probabilities."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(1)


class Joined(Head):
    """Each label's output depends on those of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.after = nn.Linear(LABELS, LABELS)

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits + self.after(logits.tanh())


class Largest(Head):
    """Each label's output against the highest."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits * (logits - logits.amax(1, keepdim=True))


class FixedSize(Head):
    """Code that states the number of labels."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).view(-1, 2, LABELS // 2).flatten(1).view(-1, LABELS)


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        outputs = model(IMAGES)
    return outputs if isinstance(outputs, Tensor) else outputs[0]


@pytest.mark.parametrize("kind", [Head, Convolution, Scaled, Ensemble, Auxiliary])
def test_kept_columns_are_what_they_were(kind: type[nn.Module]) -> None:
    model = made(kind)
    before = copy.deepcopy(model.state_dict())
    few = keep_outputs(model, IMAGES, KEPT)
    torch.testing.assert_close(logits(few.model), logits(model)[:, KEPT], rtol=1e-6, atol=1e-7)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    fresh = made(kind)
    keep_positions(fresh, few.kept)
    fresh.load_state_dict(few.model.state_dict())
    assert torch.equal(logits(fresh), logits(few.model))


def test_a_linear_classifier_loses_rows_and_nothing_else() -> None:
    few = keep_outputs(made(Head), IMAGES, [4, 1])
    found = {key: positions.tolist() for key, positions in few.kept.items()}
    assert found == {("last.weight", 0): [1, 4], ("last.bias", 0): [1, 4]}
    assert few.model.get_submodule("last").out_features == 2


def test_rows_are_found_where_the_columns_stand_in_another_order() -> None:
    few = keep_outputs(made(Scaled), IMAGES, [0, 1])
    assert few.kept["last.weight", 0].tolist() == [LABELS - 2, LABELS - 1]
    assert few.kept["scale", 0].tolist() == [LABELS - 2, LABELS - 1]


def test_an_auxiliary_output_keeps_its_width() -> None:
    few = keep_outputs(made(Auxiliary), IMAGES, KEPT)
    with torch.no_grad():
        outputs = few.model(IMAGES)
    assert [x.shape[1] for x in outputs] == [len(KEPT), LABELS]


def test_the_output_that_was_chosen_is_the_one_that_is_cut() -> None:
    model = made(Auxiliary)
    hook_output(model, "1")
    few = keep_outputs(model, IMAGES, KEPT)
    with torch.no_grad():
        first, second = few.model(IMAGES)["outputs"]
    assert (first.shape[1], second.shape[1]) == (LABELS, len(KEPT))


@pytest.mark.parametrize("kind", [LogSoftmax, Softmax])
def test_probabilities_are_those_among_the_kept_labels(kind: type[nn.Module]) -> None:
    model = made(kind)
    few = keep_outputs(model, IMAGES, KEPT)
    given, found = logits(model)[:, KEPT], logits(few.model)
    if kind is LogSoftmax:
        given, found = given.exp(), found.exp()
    torch.testing.assert_close(found, given / given.sum(1, keepdim=True))


@pytest.mark.parametrize("kind", [Joined, Largest])
def test_outputs_that_change_each_other_are_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(InputError, match=r"labels_kept.*change each other.*leave it out"):
        keep_outputs(made(kind), IMAGES, KEPT)


def test_labels_that_share_a_filter_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot go one by one \(.*fixes its size.*view"):
        keep_outputs(made(FixedSize), IMAGES, KEPT)


def test_weight_norm_of_the_classifier_is_cut_once_it_is_permanent() -> None:
    from prune_dl.prune.structure.permanent import permanent

    model = made(Head)
    model.last = parametrizations.weight_norm(model.get_submodule("last"))
    few = keep_outputs(permanent(model).model, IMAGES, KEPT)
    torch.testing.assert_close(logits(few.model), logits(model)[:, KEPT])
