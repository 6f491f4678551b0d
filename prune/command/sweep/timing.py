"""The last stage of a sweep: all of its files timed against each other in turns."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ....evaluate.measure.latency import compare
from ....evaluate.report.tradeoff import Tradeoff, TradeoffPoint
from ....export.session import open_session
from ...errors import InputError, PruneError
from ...progress import RunLog
from ..flags import one_line
from ..trees import Sweep
from .forecasts import read_forecasts

NOISY = "The machine was noisy (over 10 % variation): take the latencies with care."


def time_files(
    options: Sweep, command: str, points: list[TradeoffPoint], out: Path, log: RunLog
) -> Tradeoff:
    """Add latencies to the points whose files passed their checks.

    A file that the provider cannot open becomes a row with its error.

    Raises:
        InputError: there is no file to time.
    """
    points = [_opened(point, out, options) for point in points]
    files = {point.file: out / point.file for point in points if not point.error}
    if not files:
        reasons = "; ".join(point.error for point in points[:2])
        raise InputError(f"no file of this sweep passed its checks: {reasons}")
    bench = options.bench
    with log.stage("benchmark") as progress:
        comparison = compare(files, bench, progress=progress)
    rows = {row.name: row for row in comparison.rows}
    return Tradeoff(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        points=tuple(
            point
            if point.error
            else replace(
                point,
                latency_ms=rows[point.file].p50_ms,
                latency_p90_ms=rows[point.file].p90_ms,
            )
            for point in points
        ),
        provider=comparison.rows[0].provider,
        batch_size=bench.latency_batch,
        environment=comparison.environment,
        warnings=(NOISY,) if comparison.noisy else (),
        repaired=read_forecasts(options, out),
    )


def _opened(point: TradeoffPoint, out: Path, options: Sweep) -> TradeoffPoint:
    if point.error:
        return point
    try:
        open_session(out / point.file, options.bench.provider, options.bench.threads)
    except PruneError as error:
        return replace(point, error=one_line(error))
    return point
