"""One filter's label matrix as a plain plotly dict (see `page.Figure`)."""

from typing import TYPE_CHECKING, Any

from .html import Figure

if TYPE_CHECKING:
    from .pictures import FilterPicture

MATRIX_WIDTH = 244
"""Pixels; a label matrix is square, so this is its height too."""


def label_matrix(picture: "FilterPicture") -> Figure:
    """One label matrix as a heat map, every cluster outlined."""
    trace = {
        "type": "heatmap",
        "z": [list(row) for row in picture.field],
        "zmin": -1,
        "zmax": 1,
        "colorscale": [[0, "var(--cold)"], [0.5, "var(--neutral)"], [1, "var(--hot)"]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "customdata": [[[row, column] for column in picture.labels] for row in picture.labels],
        "hovertemplate": "input %{customdata[0]}, unit %{customdata[1]}: %{z:.2f}<extra></extra>",
    }
    axis = {
        "tickvals": list(range(len(picture.labels))),
        "ticktext": [_short(label) for label in picture.labels],
        "tickfont": {"size": 10 if len(picture.labels) <= 12 else 8},
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
    }
    room = 14 + 6 * max(len(_short(label)) for label in picture.labels)
    square = {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    layout = {
        "xaxis": {**axis, "tickangle": -60, "constrain": "domain"},
        "yaxis": {**axis, "autorange": "reversed", **square},
        "shapes": _outlines(picture.clusters),
        "margin": {"l": room, "r": 6, "t": 6, "b": room},
    }
    return {"data": [trace], "layout": layout, "height": MATRIX_WIDTH}


def _short(label: str) -> str:
    return label if len(label) <= 11 else label[:10] + "…"


def _outlines(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    """One square per cluster, along the diagonal."""
    shapes, start = [], 0
    for size in sizes:
        low, high = start - 0.5, start + size - 0.5
        corners = {"x0": low, "x1": high, "y0": low, "y1": high}
        shapes.append({"type": "rect", "line": {"color": "var(--text)", "width": 2}, **corners})
        start += size
    return shapes


def matrix_words(picture: "FilterPicture") -> str:
    """Which labels a filter selects, and how strongly, for readers who do not see its matrix."""
    start, blocks = 0, []
    for size in picture.clusters:
        blocks.append(" with ".join(picture.labels[start : start + size]))
        start += size
    selected = f"selects {'; '.join(blocks)}" if blocks else "selects no label"
    own = [(picture.field[i][i], label) for i, label in enumerate(picture.labels)]
    value, label = max(own, key=lambda pair: pair[0])
    return f"Label matrix of filter {picture.filter}: {selected}; {label} by itself has {value:.2f}"
