"""What `chatterm bench` measures, with models and contexts in which little room is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gguf_models
import pytest

from chatterm.bench import Bench, Report, describe
from chatterm.errors import EngineError
from chatterm.state import ModelOptions

LONG_TEMPLATE = "{% for n in range(40) %}the cat {% endfor %}" + gguf_models.CHATML

Measure = Callable[..., Report]


@pytest.fixture
def measure(tmp_path: Path) -> Iterator[Measure]:
    bench = Bench(tmp_path / "log")

    def measured(path: Path, n_ctx: int = 0) -> Report:
        return bench.run(ModelOptions(path=path, n_ctx=n_ctx, n_threads=1))

    yield measured
    bench.close()


def assert_measured(report: Report) -> None:
    assert report.prefill_tps > 0
    assert all(row.raw_tps > 0 < row.engine_tps for row in report.sweep)
    assert report.engine_over_raw > 0
    assert "decode, 1 thread" in describe(report)


def test_a_model_that_ends_its_replies_at_once_is_measured(
    measure: Measure, tmp_path: Path
) -> None:
    report = measure(gguf_models.write_llama(tmp_path / "short.gguf", n_ctx=1024, eog_bias=40))
    assert_measured(report)
    assert report.stop_decode_ms is not None
    assert report.follow_up
    assert report.follow_up.evaluated_tokens <= report.follow_up.new_tokens + 32


@pytest.mark.parametrize("n_ctx", [128, 32])
def test_a_small_context_is_enough(measure: Measure, tmp_path: Path, n_ctx: int) -> None:
    assert_measured(measure(gguf_models.write_llama(tmp_path / "tiny.gguf"), n_ctx))


def test_two_turns_are_scaled_to_a_small_context(measure: Measure, tmp_path: Path) -> None:
    report = measure(gguf_models.write_llama(tmp_path / "tiny.gguf"), 128)
    assert report.follow_up
    assert 0 < report.follow_up.new_tokens <= 16
    assert report.follow_up.evaluated_tokens <= report.follow_up.new_tokens + 32
    assert "second turn" in describe(report)


def test_a_context_of_learned_positions_is_enough(measure: Measure, tmp_path: Path) -> None:
    report = measure(gguf_models.write_gpt2(tmp_path / "gpt2.gguf", n_ctx=64), 512)
    assert_measured(report)
    assert report.follow_up


def test_a_template_that_leaves_no_room_for_two_turns_is_no_failure(
    measure: Measure, tmp_path: Path
) -> None:
    path = gguf_models.write_llama(tmp_path / "long.gguf", template=LONG_TEMPLATE)
    report = measure(path, 96)
    assert_measured(report)
    assert report.follow_up is None
    assert "second turn" not in describe(report)


def test_a_context_that_is_too_small_is_said(measure: Measure, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="16 tokens"):
        measure(gguf_models.write_llama(tmp_path / "tiny.gguf"), 16)
