"""A report of a made-up run, for the tests of the report and its page."""

from dataclasses import replace

import numpy as np
import torch
from prune_dl.evaluate.measure.accuracy import Accuracy
from prune_dl.evaluate.measure.latency_stats import Ratio
from prune_dl.evaluate.report.expected_score import RepairedNetwork
from prune_dl.evaluate.report.forecast import BudgetForecast, ForecastPoint
from prune_dl.evaluate.report.label_change import (
    ConfusionLine,
    ExampleLine,
    LabelChange,
    LabelLine,
)
from prune_dl.evaluate.report.lines import (
    Benchmark,
    CertificateLine,
    Change,
    DepthLine,
    EpochLine,
    Latency,
    LayerLine,
    ModelLine,
    ParityLine,
    Stages,
)
from prune_dl.evaluate.report.pictures import FilterPicture, MeasuredFilter, draw_filter
from prune_dl.evaluate.report.report import Report
from prune_dl.evaluate.report.thumbnails import InputScale, thumbnail

ANIMALS = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)


def sample_report(num_layers: int = 13, labels: tuple[str, ...] = ANIMALS) -> Report:
    layers = tuple(_layer(i, WIDTHS[i % len(WIDTHS)]) for i in range(num_layers))
    return Report(
        command="prune-dl --model vgg16_cifar10.pt --data cifar10/ --keep 0.6",
        created="2026-11-23T22:40:00+00:00",
        target="keep 0.6 of the filters",
        model=ModelLine(
            name="vgg16_cifar10.pt",
            num_labels=len(labels),
            sha256="9f" * 32,
            arch="vgg16",
            data="cifar10/",
            labels=labels,
            input_size=(3, 32, 32),
            mean=(0.49, 0.48, 0.45),
            std=(0.25, 0.24, 0.26),
        ),
        accuracy=Stages(
            Accuracy(8763, 10000),
            Accuracy(1050, 10000),
            Accuracy(8601, 10000),
            Accuracy(8690, 10000),
        ),
        held_out=Stages(Accuracy(4401, 5000), None, Accuracy(4301, 5000), Accuracy(4360, 5000)),
        filters=Change(sum(x.num_filters for x in layers), sum(x.num_kept for x in layers)),
        macs=Change(313_200_000, 101_000_000),
        params=Change(14_720_000, 3_900_000),
        certificate=CertificateLine(True, True, 3.2e-7, 1e-4),
        layers=layers,
        criterion="response",
        allocation="sr",
        seconds={"load": 1.2, "measure": 28.4, "rank": 6.1, "remove": 0.8, "benchmark": 9.0},
        environment={"python": "3.11.2", "torch": "2.15.0", "cpu": "two cores", "threads": 2},
        plan_digest="0123456789abcdef",
        size_bytes=Change(58_900_000, 15_700_000),
        latency_ms=Change(Latency(9.8, 10.9, 12.1, 9.9, 0.5), Latency(4.1, 4.4, 5.0, 4.1, 0.2)),
        images_per_second=Change(102.0, 243.9),
        latency_ratio=Ratio(2.39, 2.31, 2.46),
        benchmark=Benchmark("CPUExecutionProvider", 1, 2),
        parity=ParityLine(2e-6, 3e-7, 1.0, 256),
        depth=tuple(DepthLine(x.name, x.success_rate or 0.0) for x in layers),
        pictures=tuple(
            sample_picture(layers[i].name, seed, labels)
            for i in sorted({0, num_layers // 2, num_layers - 1})
            for seed in range(4)
        ),
        kept_whole={"classifier": "writes the output of the network"},
        contest={"response": 0.871, "l1": 0.852},
        repair={"ridge": 1e-3, "layers repaired": 13},
        peak_memory_bytes=2_100_000_000,
        warnings=("Retraining was switched off (--epochs 0).",),
        forecast=sample_forecast(),
        label_change=sample_change(labels),
        training=(EpochLine(1, 0.5, 0.861), EpochLine(2, 0.25, 0.872)),
        held_out_seen=True,
    )


def sample_forecast() -> BudgetForecast:
    points = tuple(
        ForecastPoint(
            share=0.1 * i,
            filters=100 * i,
            macs=31_320_000 * i,
            params=1_472_000 * i,
            change=0.01 * (10 - i),
            value=0.9 - 0.02 * (10 - i),
        )
        for i in range(9, 0, -1)
    )
    found = BudgetForecast("macs", "top-1", 5000, 0.32, 0.8602, 0.850, 0.8697, points)
    return found.with_sizes(15_700_000, 3_900_000)


def sample_sweep_networks() -> tuple[RepairedNetwork, ...]:
    """Three networks of a sweep, in the order asked for; only the widest one's forecast is read."""
    points = (
        ForecastPoint(0.7, 70, 700, 70, change=0.1, value=0.9),
        ForecastPoint(0.3, 30, 300, 30, change=0.4, value=0.6),
    )
    wide = BudgetForecast("macs", "top-1", 360, 0.7, 0.91, 0.88, 0.93, points)
    other = BudgetForecast("macs", "top-1", 360, 0.5, 0.76, 0.71, 0.8, points)
    return (
        RepairedNetwork("macs 0.3", 300, 1000, 0.96, 0.56, 0.51, 0.61, 0.8, 0.45, other),
        RepairedNetwork("macs 0.7", 700, 1000, 0.96, 0.91, 0.88, 0.93, 0.2, 0.5, wide),
        RepairedNetwork("macs 0.5", 500, 1000, 0.96, 0.76, 0.71, 0.80, 0.5, 0.45, other),
    )


def sample_change(labels: tuple[str, ...]) -> LabelChange:
    lines = tuple(LabelLine(name, 1000, 0.9, 0.9 - 0.01 * (i % 7)) for i, name in enumerate(labels))
    png = thumbnail(torch.linspace(0, 1, 192).reshape(3, 8, 8), InputScale())
    return LabelChange(
        "test",
        "accuracy",
        10_000,
        lines,
        changed=400,
        lost=250,
        gained=177,
        confusions=(ConfusionLine(labels[0], labels[1], 3, 30),),
        examples=(ExampleLine(5, labels[0], labels[0], labels[1], "lost", png),),
    )


def sample_picture(layer: str, seed: int, labels: tuple[str, ...]) -> FilterPicture:
    """A field with one cluster of two or three labels, drawn from the seed."""
    rng = np.random.default_rng(seed)
    field_KK = rng.normal(0, 0.2, (len(labels), len(labels)))
    cluster = np.sort(rng.choice(len(labels), 2 + seed % 2, replace=False))
    field_KK[np.ix_(cluster, cluster)] = rng.uniform(0.6, 1.0, (len(cluster), len(cluster)))
    pair = [tuple(int(label) for label in cluster)]
    measured = MeasuredFilter(layer, seed, field_KK, pair, 0.8, 1.5 - seed / 8, kept=seed < 3)
    return draw_filter(measured, labels)


def _layer(index: int, num_filters: int) -> LayerLine:
    kept = max(1, int(num_filters * (0.9 - 0.05 * (index % 13))))
    return LayerLine(
        name=f"features.{3 * index}",
        num_filters=num_filters,
        num_kept=kept,
        macs=Change(1000 * num_filters, 1000 * kept),
        params=Change(9 * num_filters, 9 * kept),
        success_rate=0.88 - 0.27 / (1 + index),
        snr=1.0 + 0.04 * index,
        cluster_size=2.3 - 0.05 * index,
        clusters_per_filter=1.1,
        noise=20.0 - index,
        reason="",
    )


def without_latency(report: Report) -> Report:
    return replace(
        report, latency_ms=None, latency_ratio=None, benchmark=None, images_per_second=None
    )
