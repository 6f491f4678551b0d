"""Pages for readers who do not see them, or have no mouse: names of controls, charts in words.

`PRUNE_DL_AXE=PATH pytest -m slow` also runs axe on every page, wide, dark and as narrow as a
telephone; PATH is the axe.min.js of `npm pack axe-core`.
"""

import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report.filters import FilterColumns, filter_layers, render_filters_page
from prune_dl.evaluate.report.matrix_chart import matrix_words
from prune_dl.evaluate.report.page import render_page
from prune_dl.evaluate.report.tradeoff import Tradeoff, TradeoffPoint
from prune_dl.evaluate.report.tradeoff_page import render_tradeoff
from scenes.report_samples import ANIMALS, sample_picture, sample_report, sample_sweep_networks
from scenes.spectrum_samples import sample_columns, sample_spectrum

AXE = os.environ.get("PRUNE_DL_AXE")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)


def report_page() -> str:
    return render_page(sample_report())


def rank_page() -> str:
    spectrum = sample_spectrum()
    columns = FilterColumns(sample_columns(spectrum), sample_columns(spectrum, 2)).by_group()
    labels = [f"label {i}" for i in range(spectrum.num_labels)]
    layers = filter_layers(spectrum, columns)
    return render_filters_page(layers, labels, title="a net", command="prune-dl rank")


def sweep_page() -> str:
    points = (
        TradeoffPoint("keep 0.5", "float32", Accuracy(85, 100), 2.5, 3.0, 4_000_000),
        TradeoffPoint("keep 0.1", error="cannot be met"),
    )
    networks = sample_sweep_networks()
    return render_tradeoff(
        Tradeoff("prune-dl sweep", "2026", points, "CPU", 1, {}, repaired=networks)
    )


PAGES = {"report": report_page, "rank": rank_page, "sweep": sweep_page}


class Controls(HTMLParser):
    """Controls without a name, headings of tables without a text, and words of charts."""

    def __init__(self) -> None:
        super().__init__()
        self.labelled: set[str] = set()
        self.controls: dict[str, bool] = {}
        self.charts: list[str] = []
        self.open: list[tuple[str, str]] = []
        self.empty: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "label":
            self.labelled.add(found.get("for") or "")
        if tag in ("select", "input"):
            inside = any(name == "label" for name, _ in self.open)
            self.controls[found.get("id") or tag] = inside or "aria-label" in found
        if "chart" in (found.get("class") or "").split():
            self.charts.append(found.get("aria-label") or "")
        if tag in ("label", "button", "th", "summary", "a"):
            self.open.append((tag, ""))

    def handle_data(self, data: str) -> None:
        self.open = [(tag, text + data.strip()) for tag, text in self.open]

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag and not self.open.pop()[1]:
            self.empty.append(tag)


@pytest.mark.parametrize("name", PAGES)
def test_every_control_has_a_name_and_every_chart_its_values_in_words(name: str) -> None:
    seen = Controls()
    seen.feed(re.sub(r"<script.*?</script>", "", PAGES[name](), flags=re.DOTALL))
    assert [x for x, named in seen.controls.items() if not (named or x in seen.labelled)] == []
    assert seen.empty == []
    assert seen.charts
    silent = [words for words in seen.charts if not re.search(r"\d", words)]
    assert silent == (["Label matrix of the chosen filter"] if name == "rank" else [])


def test_a_matrix_in_words_names_what_the_filter_selects() -> None:
    picture = sample_picture("features.0", 0, ANIMALS)
    words = matrix_words(picture)
    assert words.startswith(f"Label matrix of filter {picture.filter}: selects ")
    first = picture.labels[: picture.clusters[0]] if picture.clusters else ("no label",)
    assert all(label in words for label in first)


@pytest.mark.slow
@pytest.mark.skipif(
    not AXE or BROWSER is None, reason="PRUNE_DL_AXE names no axe.min.js, or there is no Chromium"
)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (375, "light")])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(name: str, width: int, scheme: str, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    (tmp_path / "page.html").write_text(PAGES[name]())
    with sync_api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto((tmp_path / "page.html").as_uri())
        page.evaluate("drawn")
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        page.evaluate(Path(AXE or "").read_text())
        found = page.evaluate("axe.run()")["violations"]
        browser.close()
    assert [(x["id"], x["nodes"][0]["html"][:200]) for x in found] == []
