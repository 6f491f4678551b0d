import dataclasses
import json
from pathlib import Path

import agreement
import merge_statistics
import numpy as np
import pytest
import reproduce_paper
import torch
from compare_spectra import compare_spectra
from paper_claims import Row, check, rows_of, table
from prune_dl.prune.inputs.checkpoint import save_checkpoint
from prune_dl.prune.inputs.data import open_data
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.zoo import build
from prune_dl.prune.mechanism.clusters import find_clusters
from prune_dl.prune.mechanism.spectrum import Spectrum
from scenes.bright_quarter import Net, run


@pytest.fixture(scope="module")
def spectrum() -> Spectrum:
    torch.manual_seed(0)
    return run(Net())[1]


def test_a_measurement_agrees_with_itself(spectrum: Spectrum) -> None:
    (line,) = compare_spectra(spectrum, spectrum)
    assert line.rates[0] == line.rates[1]
    for value in (line.signal, line.labels, line.same_clusters):
        assert value == pytest.approx(1)


def test_agreement_counts_what_differs(spectrum: Spectrum) -> None:
    group = spectrum.groups[0]
    assert group is not None
    ones = np.zeros((6, 4, 4), dtype=bool)
    ones[:, 0, 0] = True
    labels_a, labels_b = find_clusters(ones), find_clusters(ones | np.eye(4, dtype=bool))
    first, second = (
        dataclasses.replace(spectrum, groups=(dataclasses.replace(group, labels=x, signal_F=s),))
        for x, s in ((labels_a, np.arange(6.0)), (labels_b, -np.arange(6.0)))
    )
    (line,) = compare_spectra(first, second)
    assert line.signal == pytest.approx(-1)
    assert line.labels == pytest.approx(1 / 4)
    assert line.same_clusters == 0


def layers(**columns: list[float]) -> list[Row]:
    plain = Row("x", 64, 0.5, 1.0, 1.0, 1.0, 10.0, 5.0, 1.0, 0.1)
    count = len(next(iter(columns.values())))
    return [
        dataclasses.replace(plain, **{name: values[i] for name, values in columns.items()})
        for i in range(count)
    ]


def test_claims_hold_where_every_figure_moves_as_published() -> None:
    rows = layers(
        SR=[0.6, 0.7, 0.8, 0.9], n=[20.0, 15, 10, 5], SNR=[1, 1.1, 1.3, 2], diagonal=[3.0, 2, 2, 1]
    )
    assert [claim.holds for claim in check(rows, 10)] == [True] * 4


def test_claims_fail_where_nothing_moves() -> None:
    rows = layers(SR=[0.1] * 4, n=[20.0] * 4, SNR=[1.0] * 4, diagonal=[3.0] * 4)
    assert [claim.holds for claim in check(rows, 10)] == [False] * 4


def test_fields_that_thin_out_without_selecting_labels_are_no_claim() -> None:
    rows = layers(n=[20.0, 15, 10, 5], SNR=[1.0] * 4, diagonal=[3.0, 2, 2, 1])
    assert [claim.holds for claim in check(rows, 10)] == [False] * 4


def test_the_table_has_a_line_for_each_measured_layer(spectrum: Spectrum) -> None:
    rows = rows_of(spectrum)
    assert [row.layer for row in rows] == ["stem"]
    assert table(rows).splitlines()[2].startswith(f"| stem | 6 | {rows[0].SR:.3f} |")


def test_two_halves_on_disk_are_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    merge_statistics.main()
    images, sums, weights = capsys.readouterr().out.splitlines()
    assert images == "images: 1295 in two parts, 1295 in one"
    assert float(sums.split()[-1]) < 1e-6
    assert float(weights.split()[-1]) < 1e-3


ARCH = "vgg6:in_channels=1,width=0.125"


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A small network for the digits, as `prune-dl train` would save it."""
    torch.manual_seed(0)
    data = open_data("digits")
    origin = Origin(ARCH, 10, "digits", data.labels, data.input_size, data.mean, data.std)
    save_checkpoint(tmp_path / "digits.pt", build(ARCH, 10), origin)
    return tmp_path / "digits.pt"


def test_the_reproduction_keeps_rows_claims_and_agreement_of_every_arm(
    untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = untrained.with_name("figures.json")
    what = reproduce_paper.Reproduction(
        ARCH,
        "digits",
        model=untrained,
        images=300,
        test_images=200,
        probe="both",
        probe_epochs=10,
        cache=True,
        device="cpu",
        out=out,
    )
    reproduce_paper.reproduce(what)
    arms = json.loads(out.read_text())
    assert list(arms) == ["trained", "untrained network", "shuffled labels"]
    for arm in arms.values():
        assert [len(arm[name]) for name in ("layers", "claims", "agreement")] == [5, 4, 5]
    assert not any(claim["holds"] for claim in arms["shuffled labels"]["claims"][:1])
    assert max(row["SR"] for row in arms["shuffled labels"]["layers"]) < 0.3
    assert max(row["SR"] for row in arms["trained"]["layers"]) > 0.5
    assert capsys.readouterr().out.count("| layer | filters |") == 3


def test_the_comparison_of_probes_has_a_table_for_each_penalty(
    untrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = agreement.Options(
        str(untrained),
        "digits",
        epochs=1,
        images=200,
        test_images=100,
        softmax_epochs=2,
        penalties=(0.3, 30.0),
    )
    agreement.main(options)
    printed = capsys.readouterr().out
    assert printed.count("| features.0 |") == 4
    starts = ("published,", "softmax ", "ridge,")
    titles = [line for line in printed.splitlines() if line.startswith(starts)]
    softmax = "softmax (epochs: 2)"
    ridge = ["ridge, penalty 0.3", "ridge, penalty 30.0"]
    assert titles == ["published, another seed", softmax, *ridge]
    tables = printed.split("\nridge, ")
    assert tables[1].splitlines()[4:] != tables[2].splitlines()[4:]
