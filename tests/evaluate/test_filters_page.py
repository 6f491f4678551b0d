"""The per-filter page holds every filter's matrix, at its labels, to 1/127 of its maximum."""

import base64
import json
import re

import numpy as np
import pytest
from prune_dl.evaluate.report.filters import FilterColumns, filter_layers, write_filters_page
from scenes.spectrum_samples import sample_columns, sample_spectrum


@pytest.mark.parametrize("num_labels", [10, 40])
def test_matrices_are_the_fields_at_the_labels_shown(num_labels):
    spectrum = sample_spectrum(num_labels=num_labels)
    layers = filter_layers(spectrum, [{}] * 3)
    assert [layer.name for layer in layers] == ["conv0", "conv1"]
    for layer, group in zip(layers, spectrum.groups[1:], strict=True):
        assert layer.field_FSS.shape[1:] == (min(num_labels, 16),) * 2
        for index, (labels_S, field_SS) in enumerate(
            zip(layer.labels_FS, layer.field_FSS, strict=True)
        ):
            field_KK = group.field(index)
            expected_SS = field_KK[np.ix_(labels_S, labels_S)] / field_KK.max()
            assert np.abs(field_SS / 127 - expected_SS.clip(-1, 1)).max() <= 0.5 / 127 + 1e-6


def test_clusters_come_first():
    spectrum = sample_spectrum()
    layer = filter_layers(spectrum, [{}] * 3)[0]
    for index, sizes in enumerate(layer.cluster_sizes):
        in_clusters = {label for c in spectrum.groups[1].labels.of(index) for label in c}
        assert set(layer.labels_FS[index, : sum(sizes)].tolist()) == in_clusters
        assert in_clusters


def test_kept_and_figures_belong_to_their_filters():
    spectrum = sample_spectrum()
    norms = sample_columns(spectrum)
    layers = filter_layers(spectrum, [{"norm": n} for n in norms], [(0,), (1, 3), (0, 5)])
    assert layers[0].kept_F.tolist() == [False, True, False, True]
    assert layers[1].kept_F.tolist() == [True, False, False, False, False, True]
    assert layers[1].columns["norm"] is norms[2]
    assert list(layers[1].columns) == ["SNR", "sharpness", "signal", "norm"]


def test_without_a_plan_nothing_is_marked():
    assert filter_layers(sample_spectrum(), [{}] * 3)[0].kept_F is None


def read_content(page):
    text = re.search(r'id="content">(.*?)</script>', page, re.DOTALL).group(1)
    return json.loads(text)


def test_page_holds_all_layers_and_its_bytes_decode(tmp_path):
    spectrum = sample_spectrum()
    norms = sample_columns(spectrum)
    path = write_filters_page(
        tmp_path / "filters.html",
        spectrum,
        FilterColumns(norms, sample_columns(spectrum, seed=2)),
        labels=[f"<b>{i}" for i in range(10)],
        title="a <model>",
        command="prune-dl rank",
    )
    page = path.read_text()
    assert "<b>3" not in page
    assert "a &lt;model&gt;" in page
    content = read_content(page)
    assert content["labels"][3] == "<b>3"
    layer = content["layers"][1]
    assert layer["columns"]["norm"] == pytest.approx(norms[2], rel=1e-4)
    decoded = np.frombuffer(base64.b64decode(layer["field"]), np.int8)
    expected = filter_layers(spectrum, [{}] * 3)[1].field_FSS
    assert decoded.tolist() == expected.ravel().tolist()


def test_scores_for_too_few_groups_are_refused(tmp_path):
    spectrum = sample_spectrum()
    norms = sample_columns(spectrum)
    with pytest.raises(ValueError, match="shorter"):
        write_filters_page(
            tmp_path / "page.html", spectrum, FilterColumns(norms, norms[:2]), title="", command=""
        )
