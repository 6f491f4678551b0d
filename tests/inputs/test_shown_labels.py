"""Readable names of labels: files of them, labels that were kept, WordNet ids."""

import sys
from pathlib import Path

import pytest
from prune_dl.prune.errors import InputError
from prune_dl.prune.inputs.origin import Origin
from prune_dl.prune.inputs.shown_labels import (
    labels_to_show,
    names_of_wordnet,
    read_shown_labels,
)

WHOLE = Origin(arch="vgg6", num_labels=4, input_size=(1, 8, 8))
KEPT = Origin(arch="vgg6", num_labels=4, input_size=(1, 8, 8), labels_kept=(1, 3))


@pytest.mark.parametrize(
    "text",
    [
        "bee\nant\n",
        '["bee", "ant"]',
        '{"0": ["n1", "bee"], "1": ["n2", "ant"]}',
        '{"0": ["bee"], "1": "ant"}',
    ],
)
def test_a_file_gives_words_and_not_ids(tmp_path: Path, text: str) -> None:
    (tmp_path / "names").write_text(text)
    assert read_shown_labels(tmp_path / "names") == ("bee", "ant")
    assert read_shown_labels(None) == ()


def test_a_file_that_is_missing_is_named_by_its_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`label_names=.*none` cannot be read"):
        read_shown_labels(tmp_path / "none")


def test_names_are_of_all_labels_or_of_those_kept() -> None:
    four = ("w", "x", "y", "z")
    assert labels_to_show(("a", "b", "c", "d"), WHOLE, four) == four
    assert labels_to_show(("b", "d"), KEPT, four) == ("x", "z")
    assert labels_to_show(("b", "d"), KEPT, ("x", "z")) == ("x", "z")
    assert labels_to_show(("b", "d"), KEPT) == ("b", "d")


@pytest.mark.parametrize(
    ("labels", "origin", "expected"),
    [
        (
            ("a", "b", "c", "d"),
            WHOLE,
            "3 names .x, y, z. for 4 labels .a, b, c, d.; expected 4, in",
        ),
        (("b", "d"), KEPT, "for 2 labels .b, d.; expected 2, or 4 for those before some were kept"),
    ],
)
def test_another_number_of_names_is_refused_in_a_line(
    labels: tuple[str, ...], origin: Origin, expected: str
) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        labels_to_show(labels, origin, ("x", "y", "z"))
    assert "\n" not in str(caught.value)


def test_the_ids_of_imagenet_have_the_names_of_torchvision() -> None:
    timm = pytest.importorskip("timm.data")
    known = timm.ImageNetInfo("imagenet-1k")
    ids = known.label_names()[::-1]
    names = dict(zip(ids, names_of_wordnet(ids), strict=True))
    assert (names["n01440764"], names["n15075141"]) == ("tench", "toilet tissue")
    same = [known.label_name_to_description(x).split(",")[0] == name for x, name in names.items()]
    assert sum(same) > 950, "an id has the name of another"
    some = ("n03126707", "n02012849", "n04399382", "n00007846")
    assert names_of_wordnet(some) == ("crane (n03126707)", "crane (n02012849)", "teddy", "person")


def test_ids_without_known_names_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.data", None)
    assert names_of_wordnet(("n01440764", "n15075141")) == ("n01440764", "n15075141")
