"""Tables fit the width of a terminal: no word is broken, and what is left out is said."""

import pytest
from prune_dl.evaluate.report.lines import Change, LayerLine
from prune_dl.evaluate.report.trust import ranked_notes
from prune_dl.prune.command.tables import show_facts, show_layers, show_table, write_result

Captured = pytest.CaptureFixture[str]


def layer(name: str) -> LayerLine:
    costs = Change(123_456_789, 23_456_789), Change(1_234_567, 234_567)
    return LayerLine(name, 512, 448, *costs, success_rate=0.645)


@pytest.mark.parametrize(
    ("columns", "left"), [(60, {"layer", "filters", "kept"}), (80, {"MACs kept", "kept"})]
)
def test_a_plan_fits(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, columns: int, left: set[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    show_layers([layer(f"layer4.{i}.conv2") for i in range(3)])
    text = capsys.readouterr().out
    table, _, _ = text.partition("left out, for want of width: ")
    assert max(map(len, table.splitlines())) <= columns
    assert all(word in text for word in ("layer4.2.conv2", *left))
    assert "(--json has them)" in text


def test_without_a_width_nothing_is_left_out(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show_layers([layer("layer4.0.conv2")])
    text = capsys.readouterr().out
    assert "left out" not in text
    assert "64.50" in text


def test_where_no_column_can_go_rows_become_lists(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    show_table("files", ("file", "MB"), [("a_rather_long_name_of_a_file", "4.09")])
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 30
    assert "4.09" in text


def test_facts_and_lines_break_between_words(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = " ".join(["response"] * 20)
    show_facts("facts", [("name", words)])
    assert set(capsys.readouterr().out.split()) == {"facts", "name", "response"}
    write_result(words)
    assert capsys.readouterr().out == f"{words}\n"


def test_what_matters_comes_first_and_notes_on_layers_become_one() -> None:
    layers = [
        f"Not refitted: conv{i}: held-out images would miss 0.0109 of its response instead of "
        "0.0109"
        for i in range(13)
    ]
    few = "Repair: 1 layer (fc) has fewer than 4 rows for each input (20 for 10); give 2 times"
    small = "The test part has only 359 images: top-1 is known to lie between 98 % and 99 %"
    noisy = "The machine was noisy (over 10 % variation): take the latencies with care."
    dropped = "Retraining was dropped: held-out top-1 70.00 % after it, 72.00 % before it"
    merged = "Not refitted: 13 layers (conv0, conv1, conv2, ...; report.html has each)"
    assert ranked_notes([few, *layers, small, noisy, dropped]) == [
        dropped,
        small,
        noisy,
        few,
        merged,
    ]
