"""Lines of the report: every layer is named, also one that has its filters from another."""

import torch
from prune_dl.prune.job.known import Amounts, Measured, Planned
from prune_dl.prune.job.layers import layer_lines
from prune_dl.prune.mechanism.statistics import Statistics
from prune_dl.prune.selection.criteria import Ranking
from prune_dl.prune.structure.cost import CostModel
from prune_dl.prune.structure.plan import LayerPlan, Plan
from prune_dl.prune.structure.tracing.trace import trace
from torch import nn


def test_a_depthwise_layer_stands_with_the_one_that_it_follows() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    ).eval()
    structure = trace(network, torch.zeros(2, 3, 5, 5))
    cost = CostModel.of(network, structure)
    measured = Measured(structure, cost, Statistics.__new__(Statistics), None)
    plan = Plan((LayerPlan("0", 8, (0, 1, 2)),))
    ranking = Ranking("l1", (), (), ())
    planned = Planned(network, measured, ranking, plan, Amounts.of(cost, [8]))
    lines = {line.name: line for line in layer_lines(network, planned)}
    assert [(x.name, x.num_filters, x.num_kept) for x in lines.values()] == [
        ("0", 8, 3),
        ("4", 4, 4),
    ]
    assert lines["0"].together == ("2 (depthwise)",)
    assert lines["0"].macs is not None
    both = 25 * (3 + 9)
    assert (lines["0"].macs.original, lines["0"].macs.final) == (8 * both, 3 * both)
    assert lines["4"].together == ()
    assert "output" in lines["4"].reason
