"""The report's page: its sentence is honest, its charts are valid plotly, it needs no network."""

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import plotly.graph_objects as go
import pytest
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.measure.latency_stats import Ratio
from prune_dl.evaluate.report import charts, words
from prune_dl.evaluate.report.accuracy_chart import accuracy_against_cost
from prune_dl.evaluate.report.lines import (
    Benchmark,
    CertificateLine,
    Change,
    ParityLine,
    Stages,
)
from prune_dl.evaluate.report.matrix_chart import label_matrix
from prune_dl.evaluate.report.metric_line import MetricLine
from prune_dl.evaluate.report.page import figures, layer_table, render_page, stage_rows, tiles
from scenes.report_samples import sample_picture, sample_report, without_latency


def plain(text):
    return text.replace(words.NBSP, " ")


def test_headline_says_what_was_cut_gained_and_paid():
    report = replace(sample_report(), filters=Change(1000, 600))
    assert plain(words.headline(report)) == (
        "0.6 of the filters kept: 3.1× fewer MACs, 2.4× faster at batch 1 on CPU, "
        "top-1 87.6 → 86.9 %."
    )


@pytest.mark.parametrize(
    ("ratio", "sentence"),
    [
        (Ratio(2.0, 1.9, 2.1), "2.0× faster"),
        (Ratio(1.05, 1.02, 1.08), "1.05× faster"),
        (Ratio(0.5, 0.4, 0.6), "2.0× slower"),
        (Ratio(1.05, 0.98, 1.12), "no faster (ratio 0.98 to 1.12)"),
    ],
)
def test_faster_or_slower_only_where_the_interval_says_so(ratio, sentence):
    assert plain(words.speed(ratio)) == sentence


def test_headline_claims_no_speed_that_was_not_measured():
    assert "faster" not in words.headline(without_latency(sample_report()))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (1000, "1 k"), (313_200_000, "313.2 M")]
)
def test_counts_are_readable(number, text):
    assert words.count(number) == text


def test_warnings_follow_from_the_figures():
    report = replace(
        sample_report(),
        warnings=(),
        accuracy=Stages(Accuracy(80, 100), None, None, Accuracy(70, 100)),
        latency_ratio=Ratio(1.01, 0.99, 1.03),
        benchmark=Benchmark("CPUExecutionProvider", 1, 2, noisy=True),
        certificate=CertificateLine(False, True, None, 1e-4, "layer norm mixes channels"),
    )
    found = "\n".join(words.honest_warnings(report))
    assert "layer norm mixes channels" in found
    assert "noisy" in found
    assert "not measurably faster" in found
    assert "only 100 images" in found
    assert len(words.honest_warnings(report)) == 4
    assert words.honest_warnings(replace(sample_report(), warnings=())) == ()


def resolved(value):
    """The figure as the page's script gives it to plotly: CSS variables are colours by then."""
    return json.loads(re.sub(r"var\(--\w+\)", "#123456", json.dumps(value)))


@pytest.mark.parametrize(
    "report", [sample_report(), without_latency(sample_report(56))], ids=["vgg", "no latency"]
)
def test_every_figure_is_valid_plotly(report):
    drawn = [*figures(report).values(), *map(label_matrix, report.pictures)]
    assert len(drawn) == 6 + len(report.pictures)
    for figure in drawn:
        go.Figure(data=resolved(figure["data"]), layout=resolved(figure["layout"]))


def test_a_stage_far_below_does_not_flatten_the_others():
    figure = accuracy_against_cost(sample_report())
    low, _ = figure["layout"]["yaxis"]["range"]
    assert low > 80
    removed = next(trace for trace in figure["data"] if trace["name"] == "removed")
    assert removed["y"][0] >= low
    assert removed["marker"]["symbol"] == "triangle-down"
    assert removed["meta"] == "removed 10.5 %"


def test_places_along_the_depth_have_names_of_their_own():
    points = [("stem", "a.conv1"), ("a.conv1", "a.conv2"), ("stem", "b.conv1"), (None, "fc")]
    assert charts.depth_places(points) == ["stem", "a.conv1", "before b.conv1", "before fc"]


def test_each_cluster_is_outlined_where_its_labels_are():
    picture = replace(sample_picture("conv", 0, tuple("abcdef")), clusters=(3, 2))
    outlines = label_matrix(picture)["layout"]["shapes"]
    assert [(o["x0"], o["x1"], o["y0"], o["y1"]) for o in outlines] == [
        (-0.5, 2.5, -0.5, 2.5),
        (2.5, 4.5, 2.5, 4.5),
    ]


def test_tables_hold_the_figures_of_the_report():
    report = sample_report()
    assert [row["test"] for row in stage_rows(report)] == [
        "87.63 %",
        "10.50 %",
        "86.01 %",
        "86.90 %",
    ]
    assert stage_rows(report)[1]["held_out"] == "–"
    row = layer_table(report)[1]
    assert (row["num_filters"], row["num_kept"], row["share"]) == (64, 54, 84)
    assert [tile["name"] for tile in tiles(report)][:2] == ["Top-1", "MACs"]


def test_a_reason_is_told_once():
    report = sample_report()
    layers = (replace(report.layers[0], name="classifier", reason="writes the output"),)
    once = replace(report, layers=layers, kept_whole={"classifier": "writes the output"})
    assert shown(once).count("writes the output") == 1
    assert shown(report).count("writes the output of the network") == 1


def shown(report):
    """The page without what its scripts read."""
    page = render_page(report)
    return re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)


class Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in {"src", "href"} and not value.startswith(("data:", "#")):
                self.found.append((tag, value))


def test_page_is_self_contained_and_holds_plotly_once():
    page = render_page(sample_report())
    outside = Outside()
    outside.feed(page)
    assert outside.found == []
    packed = re.findall(r'id="plotly-js">([^<]*)<', page)
    assert len(packed) == 1
    assert b"plotly.js v" in gzip.decompress(base64.b64decode(packed[0]))[:200]
    assert len(page) < 2_500_000
    assert "@import" not in page.split("</style>")[0]


def test_page_escapes_what_users_named():
    hostile = "<script>alert(1)</script>"
    report = sample_report(labels=(hostile, *map(str, range(9))))
    report = replace(report, command=f"prune-dl --model {hostile}", warnings=(hostile,))
    assert hostile not in render_page(report)


def test_many_labels_show_a_readable_part_and_say_so():
    report = sample_report(labels=tuple(f"label {i}" for i in range(1000)))
    page = render_page(report)
    assert "16 of 1000 labels shown" in page
    assert len(page) < 6_000_000


def test_a_metric_stands_beside_the_scores_and_each_output_has_its_parity():
    metric = MetricLine("mean_iou", 0.8124, 0.4, 0.79, 0.8011)
    parity = ParityLine(1e-5, 2e-6, None, 64, outputs={"out": 2e-6, "aux": 1e-7})
    report = replace(sample_report(), metric=metric, parity=parity)
    assert [row["metric"] for row in stage_rows(report)] == ["0.8124", "0.4", "0.79", "0.8011"]
    tile = next(tile for tile in tiles(report) if tile["name"] == "mean_iou")
    assert (tile["before"], tile["after"]) == ("0.8124", "0.8011")
    page = render_page(report)
    assert "out 2.0e-06, aux 1.0e-07" in page
    assert "mean_iou: your own measure of the whole network; higher is better" in page
    assert "same answer on" not in page
    assert report.to_dict()["metric"]["final"] == 0.8011
    assert "mean_iou" not in render_page(sample_report())
