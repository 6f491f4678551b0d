"""Removed filters with a high SNR on the page and in the JSON of the report."""

from dataclasses import replace

from prune_dl.evaluate.report.page import render_page
from prune_dl.evaluate.report.removed_filters import AlikeFilter, RemovedFilter
from prune_dl.evaluate.report.removed_words import removed_words
from scenes.report_samples import sample_report

LIKE = AlikeFilter(3, 0.81, ("cat", "dog"), ("cat",))
LINE = RemovedFilter("features.7", 12, 9.1, ("cat",), "features.10", 0.94, LIKE, (LIKE,), 4)


def test_the_page_explains_them_and_the_json_has_the_figures() -> None:
    report = replace(sample_report(), removed_strong=(LINE,))
    assert f"<li>{removed_words(LINE)}</li>" in render_page(report)
    assert report.to_dict()["removed_strong"][0]["closest"]["correlation"] == 0.81
    assert "removed-strong" not in render_page(sample_report())


def test_what_is_not_there_is_not_said() -> None:
    alone = removed_words(replace(LINE, closest=None, sharing=(), num_sharing=0))
    assert "closest" not in alone
    assert alone.endswith("No kept filter of the layer shares labels with it.")
    opposite = removed_words(replace(LINE, closest=AlikeFilter(1, -0.9, (), ())))
    assert "closest to it is 1 (correlation -0.90, selects no label)" in opposite
    assert opposite.endswith("4 kept filters share labels with it, most of all 3 (cat).")


def test_of_many_labels_a_few_are_named() -> None:
    many = replace(LINE, labels=tuple("abcdefgh"))
    assert "selects a, b, c, d, e and 3 more)" in removed_words(many)
