"""The example runs, in a tiny form, and its pictures are what it says."""

import pytest
import segmentation
import torch


def test_masks_cover_the_digits_and_parts_differ() -> None:
    learning, test = (segmentation.pictures(12, is_test=is_test) for is_test in (False, True))
    images, masks = learning.tensors
    assert images.shape == (12, 3, 48, 48)
    assert float(images.abs().max()) <= 1
    assert set(masks.unique().tolist()) == {0, 1}
    assert 0.02 < float(masks.float().mean()) < 0.2
    assert not torch.equal(images, test.tensors[0])
    again = segmentation.pictures(12, is_test=False).tensors[0]
    assert torch.equal(images, again)


@pytest.mark.slow
def test_the_example_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    segmentation.main(
        segmentation.Options(images=48, epochs=1, width=4, retrain_epochs=1, bench_seconds=0.01)
    )
    lines = capsys.readouterr().out.splitlines()
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == ["original", "removed", "repaired, 0 epochs", "repaired, 1 epochs"]
