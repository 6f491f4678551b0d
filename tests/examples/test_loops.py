"""The examples of a training of one's own, in a tiny form."""

import pytest


@pytest.mark.parametrize(
    ("optimizer", "criterion"),
    [("adamw", "l1"), pytest.param("sgd", "response", marks=pytest.mark.slow)],
)
def test_a_plain_loop_goes_on_with_half_of_the_filters(optimizer: str, criterion: str) -> None:
    import own_loop

    before, after, end = own_loop.main(epochs=4, optimizer=optimizer, criterion=criterion)
    assert after.macs < 0.5 * before.macs
    assert end.macs == after.macs
    assert end.accuracy > 0.6
    assert end.accuracy > after.accuracy - 0.02


def test_a_timm_network_goes_on_under_its_own_optimizer_and_schedule() -> None:
    pytest.importorskip("timm")
    import timm_loop

    before, after, loss = timm_loop.main(epochs=2, batches=2)
    assert after < 0.6 * before
    assert loss < 5


@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_trainer_goes_on() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    import transformers_loop

    found = transformers_loop.main(steps=3, count=128)
    planned = found.planned
    assert planned.left.macs < 0.55 * planned.original.macs
    assert sum(x.numel() for x in found.model.parameters()) == planned.left.params
