"""The pages in a real browser: every chart is drawn, nothing is loaded, the controls work.

Needs Chromium or Chrome on the PATH; without one the tests are skipped, and say so.
"""

import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.report.filters import FilterColumns, filter_layers, write_filters_page
from prune_dl.evaluate.report.page import render_page
from prune_dl.evaluate.report.tradeoff import Tradeoff, TradeoffPoint
from prune_dl.evaluate.report.tradeoff_page import render_tradeoff
from scenes.report_samples import sample_report, sample_sweep_networks, without_latency
from scenes.spectrum_samples import sample_columns, sample_spectrum

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the PATH"),
]

PROBE = """
<script>
addEventListener("load", () => setTimeout(async () => {
  await drawn;
  const found = {
    errors: window.pageErrors,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    charts: [...document.querySelectorAll(".chart")].map(
      (place) => Boolean(place.querySelector("svg.main-svg"))),
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    ink: getComputedStyle(document.body).color,
  };
  try {
    found.answer = await (async () => { ACTION })();
  } catch (error) {
    found.errors.push(String(error));
  }
  const place = document.createElement("pre");
  place.id = "outcome";
  place.textContent = JSON.stringify(found);
  document.body.append(place);
}, 300));
</script>
"""
WATCH = """<script>
window.pageErrors = [];
addEventListener("error", (event) => window.pageErrors.push(event.message));
</script>"""


def browse(page, folder, action="", *, width=1280, dark=False, hash_=""):
    """Open a page, run an action (JavaScript with `return`), give back what was found."""
    file = folder / "page.html"
    watched = page.replace("<head>", "<head>" + WATCH, 1)
    end = watched.rindex("</body>")
    file.write_text(watched[:end] + PROBE.replace("ACTION", action) + watched[end:])
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    command = [
        *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000"),
        *(f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000", *scheme),
        *("--dump-dom", file.as_uri() + hash_),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r'<pre id="outcome">(.*?)</pre>', done.stdout, re.DOTALL)
    assert text, "the page's scripts did not come to their end"
    return json.loads(unescape(text.group(1)))


def sweep():
    points = tuple(
        TradeoffPoint(f"keep 0.{i}", name, Accuracy(800 + 10 * i, 1000), float(i), i * 1.2, i * 10)
        for i in range(1, 5)
        for name in ("float32", "int8")
    )
    return Tradeoff(
        *("prune-dl sweep", "2026", points, "CPUExecutionProvider", 1, {"torch": "2"}),
        repaired=sample_sweep_networks(),
    )


PAGES = {
    "report": (lambda: render_page(sample_report()), 18),
    "no latency": (lambda: render_page(without_latency(sample_report(56))), 18),
    "trade-off": (lambda: render_tradeoff(sweep()), 3),
}


@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("name", PAGES)
def test_every_chart_is_drawn_and_nothing_is_loaded(name, width, tmp_path):
    make, num_charts = PAGES[name]
    found = browse(make(), tmp_path, width=width)
    assert found["errors"] == []
    assert found["loaded"] == []
    assert found["charts"] == [True] * num_charts
    assert not found["wide"], "the page scrolls sideways"


def test_the_slider_shows_another_budget_and_tables_sort(tmp_path):
    action = """
      const budget = document.getElementById("budget");
      budget.value = 0;
      budget.dispatchEvent(new Event("input"));
      const shown = ["share", "value", "macs", "size", "command"].map(
        (name) => document.getElementById(`budget-${name}`).textContent);
      const table = document.getElementById("most-lost");
      const first = () => table.tBodies[0].rows[0].cells[0].textContent;
      table.tHead.rows[0].cells[4].querySelector("button").click();
      const highest = first();
      table.tHead.rows[0].cells[4].querySelector("button").click();
      const direction = table.tHead.rows[0].cells[4].ariaSort;
      return [shown, highest, first(), direction, csvOf(table).split("\\n")[0]];
    """
    found = browse(render_page(sample_report()), tmp_path, action)
    assert found["errors"] == []
    shown, highest, lowest, direction, header = found["answer"]
    command = "prune-dl --model vgg16_cifar10.pt --data cifar10/ --macs 0.9"
    assert shown[:4] == ["90 %", "88.0 %", "281.9 M", "53.09 MB"]
    assert shown[4] == f"{command} --out runs/vgg16_cifar10-macs-0.9"
    assert (highest, lowest, direction) == ("plane", "frog", "ascending")
    assert header == '"Label","Images","Accuracy before","After","Points"'


def test_dark_readers_get_light_ink(tmp_path):
    ink = {
        dark: browse(render_page(sample_report()), tmp_path, dark=dark)["ink"]
        for dark in (False, True)
    }
    assert ink == {False: "rgb(28, 32, 36)", True: "rgb(232, 233, 230)"}


@pytest.fixture
def spectrum():
    return sample_spectrum(widths=(4, 6))


@pytest.fixture
def page(spectrum, tmp_path):
    path = write_filters_page(
        tmp_path / "filters.html",
        spectrum,
        FilterColumns(sample_columns(spectrum), kept=[(0,), (1, 2), (0, 3, 5)]),
        labels=[f"label{i}" for i in range(10)],
        title="model.pt",
        command="prune-dl rank",
    )
    return path.read_text()


STATE = """
const choose = (id, value) => {
  element(id).value = value;
  element(id).dispatchEvent(new Event("change"));
};
const listed = () => [...element("body").children].map((line) => Number(line.dataset.filter));
const selected = () => Number(
  element("body").querySelector('[aria-selected="true"]')?.dataset.filter);
const shown = () => element("matrix").data[0].z;
"""


def matrix(spectrum, layer, index):
    return (filter_layers(spectrum, [{}] * 3)[layer].field_FSS[index] / 127).tolist()


def test_picking_a_layer_and_a_filter_shows_its_matrix(page, spectrum, tmp_path):
    action = (
        STATE
        + """
      choose("layer", 0);
      choose("sort", "index");
      choose("order", "1");
      element("body").children[2].click();
      return [element("caption").textContent, listed(), selected(), shown(),
              element("matrix").layout.shapes.length, location.hash];
    """
    )
    found = browse(page, tmp_path, action)
    assert found["errors"] == []
    caption, listed, selected, shown, num_outlines, hash_ = found["answer"]
    assert (caption, listed, selected) == ("conv0, filter 2", [0, 1, 2, 3], 2)
    assert shown == matrix(spectrum, 0, 2)
    assert num_outlines == len(spectrum.groups[1].labels.of(2))
    assert hash_ == "#conv0/2"


def test_sorting_filtering_arrows_and_the_overview(page, spectrum, tmp_path):
    action = (
        STATE
        + """
      choose("layer", 1);
      choose("sort", "signal");
      const sorted = listed();
      element("body").dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown" }));
      const second = selected();
      choose("show", "removed");
      const removed = listed();
      choose("show", "all");
      const tile = Number(element("overview").dataset.tile);
      const box = element("overview").getBoundingClientRect();
      element("overview").dispatchEvent(new MouseEvent("click",
        { clientX: box.left + 3 * tile + 5, clientY: box.top + 5, bubbles: true }));
      return [sorted, second, removed, selected()];
    """
    )
    found = browse(page, tmp_path, action)
    assert found["errors"] == []
    by_signal = np.argsort(-spectrum.groups[2].signal_F, kind="stable").tolist()
    sorted_, second, removed, from_overview = found["answer"]
    assert sorted_ == by_signal
    assert second == by_signal[1]
    assert removed == [i for i in by_signal if i not in {0, 3, 5}]
    assert from_overview == by_signal[3]


def test_filters_start_in_the_order_of_the_score_and_tiles_move_by_keyboard(spectrum, tmp_path):
    scores = sample_columns(spectrum, seed=2)
    path = write_filters_page(
        tmp_path / "filters.html",
        spectrum,
        FilterColumns(sample_columns(spectrum), scores),
        title="m",
        command="c",
    )
    action = (
        STATE
        + """
      const press = (key) =>
        element("overview").dispatchEvent(new KeyboardEvent("keydown", { key }));
      const start = listed();
      press("ArrowRight");
      const second = selected();
      press("ArrowLeft");
      return [element("sort").value, start, second, selected()];
    """
    )
    found = browse(path.read_text(), tmp_path, action)
    assert found["errors"] == []
    order = np.argsort(-scores[2], kind="stable").tolist()
    assert found["answer"] == ["score", order, order[1], order[0]]


def test_an_address_names_its_filter(page, tmp_path):
    action = STATE + "return [element('caption').textContent, selected()];"
    found = browse(page, tmp_path, action, hash_="#conv0/3")
    assert found["answer"] == ["conv0, filter 3", 3]
    found = browse(page, tmp_path, action, hash_="#nowhere/99")
    assert found["errors"] == []
    assert found["answer"][0].startswith("conv1, filter ")


def test_without_a_plan_there_is_nothing_to_show_or_hide(spectrum, tmp_path):
    path = write_filters_page(
        tmp_path / "filters.html",
        spectrum,
        FilterColumns(sample_columns(spectrum)),
        title="m",
        command="c",
    )
    action = "return [element('show-label').offsetWidth, element('head').textContent];"
    found = browse(path.read_text(), tmp_path, action)
    assert found["errors"] == []
    assert found["answer"] == [0, "filterclustersSNRsharpnesssignalnorm"]
