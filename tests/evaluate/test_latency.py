"""Timing: the statistics against known answers, the protocol against a fake clock."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper
from prune_dl.evaluate.measure import latency, memory
from prune_dl.evaluate.measure.environment import available_cores, describe_environment
from prune_dl.evaluate.measure.feeds import make_feed
from prune_dl.evaluate.measure.latency import compare, time_interleaved
from prune_dl.evaluate.measure.latency_stats import ratio_of_medians, summarise_times
from prune_dl.evaluate.measure.memory import peak_memory
from prune_dl.evaluate.measure.subjects import bind, file_bytes
from prune_dl.export import session as sessions
from prune_dl.export.session import nodes_by_provider, open_session, require_provider, require_use
from prune_dl.prune.errors import InputError, UsageError
from prune_dl.prune.options import BenchOptions

POSITIVE = st.floats(0.01, 1e4)
FLOAT = TensorProto.FLOAT
BRIEF = BenchOptions(bench_seconds=0.0)


def write_graph(path: Path, shape: list[object], dtype: int = FLOAT, repeats: int = 1) -> Path:
    """A foreign file: a chain of `repeats` sines after a cast, written without our exporter."""
    nodes = [helper.make_node("Cast", ["x"], ["y0"], to=FLOAT)]
    nodes += [helper.make_node("Sin", [f"y{i}"], [f"y{i + 1}"]) for i in range(repeats)]
    x = helper.make_tensor_value_info("x", dtype, shape)
    y = helper.make_tensor_value_info(f"y{repeats}", FLOAT, shape)
    graph = helper.make_graph(nodes, "foreign", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def test_summary_of_known_times() -> None:
    summary = summarise_times(np.arange(1.0, 101.0).reshape(20, 5))
    assert summary.p50_ms == 50.5
    assert summary.p90_ms == pytest.approx(90.1)
    assert summary.p99_ms == pytest.approx(99.01)
    assert summary.mean_ms == 50.5
    assert summary.std_ms == pytest.approx(np.sqrt((100**2 - 1) / 12))
    assert summary.variation == pytest.approx(summary.std_ms / 50.5)
    assert summary.num_runs == 100


@given(arrays(float, (6, 5), elements=POSITIVE), st.floats(0.1, 10))
def test_percentiles_are_ordered_and_scale_with_the_unit(times: np.ndarray, scale: float) -> None:
    one, other = summarise_times(times), summarise_times(times * scale)
    assert one.p50_ms <= one.p90_ms <= one.p99_ms <= times.max()
    assert other.p90_ms == pytest.approx(one.p90_ms * scale)
    assert other.variation == pytest.approx(one.variation, abs=1e-9)


@settings(max_examples=25)
@given(arrays(float, (6, 5), elements=POSITIVE), st.floats(0.1, 10))
def test_a_file_that_is_always_c_times_faster_has_ratio_c_without_doubt(
    times: np.ndarray, c: float
) -> None:
    ratio = ratio_of_medians(times, times / c)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((c, c, c))


def test_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for trial in range(60):
        slow = 2.0 * generator.lognormal(0, 0.1, size=(30, 5))
        fast = generator.lognormal(0, 0.1, size=(30, 5))
        ratio = ratio_of_medians(slow, fast, seed=trial)
        hits += ratio.low <= 2.0 <= ratio.high
    assert 51 <= hits <= 60


class FakeClock:
    """Time that passes only when something runs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def task(self, name: str, seconds: float):
        def run() -> None:
            self.calls.append(name)
            self.now += seconds

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(latency, "time", clock)
    return clock


def test_protocol_warms_up_takes_turns_and_runs_long_enough(clock: FakeClock) -> None:
    seen: list[tuple[int, int]] = []
    runs = {"a": clock.task("a", 1 / 16), "b": clock.task("b", 1 / 64)}
    times = time_interleaved(
        runs, seconds=0.75, min_runs=20, progress=lambda done, total: seen.append((done, total))
    )
    warm_up = ["a"] * 4 + ["b"] * 13
    assert clock.calls == warm_up + (["a"] * 6 + ["b"] * 6) * 10
    assert (times["a"] == 62.5).all()
    assert (times["b"] == 15.625).all()
    assert times["a"].shape == times["b"].shape == (10, 5)
    assert seen[-1] == (100, 100)


def test_slow_files_still_get_the_least_number_of_runs(clock: FakeClock) -> None:
    times = time_interleaved({"a": clock.task("a", 10.0)}, seconds=3, min_runs=101)
    assert times["a"].size == 105


def test_compare_foreign_files(tmp_path: Path) -> None:
    files = {
        "long": write_graph(tmp_path / "a.onnx", ["n", 3, 64, 64], repeats=24),
        "short": write_graph(tmp_path / "b.onnx", ["n", 3, 64, 64], repeats=2),
    }
    result = compare(files, replace(BRIEF, threads=1, latency_batch=2), min_runs=20)
    long, short = result.rows
    assert (long.name, short.name) == ("long", "short")
    assert (long.ratio, long.ratio_low, long.ratio_high) == (1.0, 1.0, 1.0)
    assert long.provider == "CPUExecutionProvider"
    assert (long.batch_size, long.threads, long.num_runs) == (2, 1, 20)
    assert long.images_per_second == pytest.approx(2000 / long.mean_ms)
    assert short.ratio == pytest.approx(long.p50_ms / short.p50_ms)
    assert short.ratio > 1.5
    assert (result.ratio, result.ratio_low) == (short.ratio, short.ratio_low)
    assert result.noisy == (max(long.variation, short.variation) > 0.10)
    assert long.size_bytes == (tmp_path / "a.onnx").stat().st_size
    assert long.session_ms > 0
    assert 10e6 < long.peak_memory_bytes < 1e9


def test_threads_default_to_every_core(tmp_path: Path) -> None:
    files = {"a": write_graph(tmp_path / "a.onnx", [1, 4])}
    assert compare(files, BRIEF, min_runs=5).rows[0].threads == available_cores()


def test_side_files_count_too(tmp_path: Path) -> None:
    weight = onnx.numpy_helper.from_array(np.ones((4, 1000), np.float32), "w")
    x = helper.make_tensor_value_info("x", FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", FLOAT, ["n", 1000])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "a.onnx"
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    assert path.stat().st_size < 1000
    assert file_bytes(path) == path.stat().st_size + 16_000
    assert compare({"a": path}, BRIEF, min_runs=5).rows[0].size_bytes == file_bytes(path)


def test_a_provider_that_runs_no_node_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_graph(tmp_path / "a.onnx", [1, 4], repeats=3)
    feed = make_feed(open_session(path), 1)
    found = nodes_by_provider(path, "cpu", feed)
    assert set(found) == {"CPUExecutionProvider"}
    assert 3 <= found["CPUExecutionProvider"] <= 4  # a cast to its own type is optimised away
    require_use(path, "cpu", feed)
    monkeypatch.setattr(sessions, "nodes_by_provider", lambda *_: found)
    with pytest.raises(
        UsageError, match=r"`provider=cuda` given; not one node of a\.onnx runs on it"
    ):
        require_use(path, "cuda", feed)


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is part of ONNX Runtime there")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "coreml"])
def test_a_provider_that_cannot_be_used_is_found_out_before_any_work(provider: str) -> None:
    require_provider("cpu")
    if provider != "coreml" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(UsageError, match=f"`provider={provider}` given"):
        require_provider(provider)
    with pytest.raises(UsageError, match=f"`hardware_widths={provider}` given"):
        require_provider(provider, "hardware_widths")


def test_errors_name_the_file(tmp_path: Path) -> None:
    fixed = write_graph(tmp_path / "a.onnx", [4, 3, 8, 8])
    loose = write_graph(tmp_path / "b.onnx", ["n", 3, "h", "w"])
    with pytest.raises(UsageError, match="no file given"):
        compare({}, BRIEF)
    with pytest.raises(InputError, match=r"gone: .*gone\.onnx given; there is no such file"):
        compare({"gone": tmp_path / "gone.onnx"}, BRIEF)
    with pytest.raises(
        UsageError, match=r"fixed: `latency_batch=1` given; .* give `latency_batch=4`"
    ):
        compare({"fixed": fixed}, BRIEF)
    with pytest.raises(UsageError, match=r"loose: input x leaves sizes open .* give `input_size`"):
        compare({"loose": loose}, BRIEF)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (TensorProto.FLOAT, np.float32),
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.UINT8, np.uint8),
        (TensorProto.INT64, np.int64),
    ],
)
def test_inputs_are_made_as_the_graph_declares_them(
    tmp_path: Path, dtype: int, expected: type
) -> None:
    session = open_session(write_graph(tmp_path / "a.onnx", ["n", 3, "h", "w"], dtype))
    feed = make_feed(session, 2, (3, 5, 7))
    assert feed["x"].shape == (2, 3, 5, 7)
    assert feed["x"].dtype == expected
    assert session.run(None, feed)[0].shape == (2, 3, 5, 7)


def test_a_bound_run_gives_the_same_outputs(tmp_path: Path) -> None:
    session = open_session(write_graph(tmp_path / "a.onnx", ["n", 4]))
    feed = make_feed(session, 3)
    (bound,) = bind(session, feed, "cpu")()
    np.testing.assert_array_equal(bound.numpy(), session.run(None, feed)[0])


def test_environment_names_processor_and_versions() -> None:
    facts = describe_environment()
    assert int(facts["cores"]) >= 1
    assert facts["cpu"]
    assert facts["torch"].count(".") >= 2
    assert "onnxruntime-gpu" in facts or "onnxruntime" in facts


@pytest.mark.parametrize("from_python_path", [False, True])
def test_no_module_of_the_working_folder_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_python_path: bool
) -> None:
    path = write_graph(tmp_path / "a.onnx", ["n", 4])
    feed = make_feed(open_session(path), 1)
    here = tmp_path / "here"
    here.mkdir()
    for name in ("numpy", "json", "select", "sitecustomize", "usercustomize", "onnxruntime"):
        (here / f"{name}.py").write_text(f'open("EXECUTED_{name}", "w"); raise ImportError')
    monkeypatch.chdir(here)
    if from_python_path:  # as a shell's PYTHONPATH=.:... does
        monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        monkeypatch.syspath_prepend("")
        monkeypatch.syspath_prepend(str(here))
    assert peak_memory(path, "cpu", 1, feed) > 10e6  # type: ignore[operator]
    assert not list(here.glob("EXECUTED_*"))


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_graph(tmp_path / "a.onnx", ["n", 4])
    monkeypatch.setattr(memory, "MAX_SECONDS", 0.01)
    with pytest.raises(InputError, match=r"not run 3 times within 0.01 seconds .*`latency_batch`"):
        peak_memory(path, "cpu", 1, make_feed(open_session(path), 1))


def test_peak_memory_grows_with_the_batch(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "a.onnx", ["n", 3, 256, 256])
    session = open_session(path)
    small = peak_memory(path, "cpu", 1, make_feed(session, 1))
    large = peak_memory(path, "cpu", 1, make_feed(session, 64))
    batch_bytes = 63 * 3 * 256 * 256 * 4
    assert batch_bytes < large - small < 6 * batch_bytes


def test_a_file_that_opens_and_does_not_run_is_one_line(tmp_path: Path) -> None:
    """A convolution of 3 channels whose input leaves them open, given 5."""
    weight = helper.make_tensor("w", FLOAT, [2, 3, 1, 1], [1.0] * 6)
    x = helper.make_tensor_value_info("x", FLOAT, ["n", None, None, None])
    y = helper.make_tensor_value_info("y", FLOAT, ["n", None, None, None])
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "open", [x], [y], [weight])
    opset = [helper.make_opsetid("", 18)]
    file = tmp_path / "open.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), file)
    with pytest.raises(InputError, match="ONNX Runtime cannot run it") as raised:
        compare({"open": file}, BRIEF, input_size=(5, 4, 4))
    assert "\n" not in str(raised.value)
