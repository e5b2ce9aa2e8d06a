"""Loading: what a model is said to be, and what is refused in one sentence."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import gguf
import gguf_models
import pytest
from engine_driver import EngineDriver

from chatterm.engine.protocol import Failed, Load, LoadProgress, Stop

SLOW_TEMPLATE = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineDriver]:
    with EngineDriver(tmp_path_factory.mktemp("engine") / "log") as driver:
        yield driver


def assert_sentence(failed: Failed, *words: str) -> None:
    assert failed.kind == "ModelError"
    assert failed.title.endswith(".")
    assert "\n" not in failed.title + failed.advice
    for word in words:
        assert word in failed.title


def test_a_model_is_described(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf", n_ctx=300)
    loaded = engine.load(path, n_threads=2)
    info = loaded.info
    assert loaded.load_s > 0
    assert info.path == path
    assert info.name == "Tiny llama"
    assert info.architecture == "llama"
    assert info.quantisation == "F32"
    assert info.n_layers == 2
    assert info.n_ctx == info.n_ctx_train == 300
    assert info.n_threads == 2
    assert info.n_vocab == 291
    assert 30_000 < info.parameters < 50_000
    assert info.size_bytes == 4 * info.parameters
    assert info.has_template
    assert not info.template_problem
    assert info.can_cut


def test_a_model_without_a_template_is_a_base_model(engine: EngineDriver, tmp_path: Path) -> None:
    info = engine.load(gguf_models.write_spm(tmp_path / "spm.gguf")).info
    assert not info.has_template
    assert not info.template_problem


def test_the_context_is_what_was_trained_up_to_8192_unless_asked(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_llama(tmp_path / "long.gguf", n_ctx=32768)
    assert engine.load(path).info.n_ctx == 8192
    assert engine.load(path, n_ctx=16384).info.n_ctx == 16384
    assert engine.load(path, n_ctx=100).info.n_ctx == 100


def test_a_context_beyond_the_machine_is_refused_at_once(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf")
    assert_sentence(engine.load_fails(path, n_ctx=2**30), str(2**30), "GiB")
    assert_sentence(engine.load_fails(path, n_ctx=-1))


def test_threads_leave_a_core_free_unless_asked(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf")
    threads = engine.load(path, n_threads=0).info.n_threads
    assert 1 <= threads <= max((os.cpu_count() or 1) - 1, 1)


def test_more_threads_than_llama_cpp_takes_are_not_asked_for(
    engine: EngineDriver, tmp_path: Path
) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf")
    assert engine.load(path, n_threads=10**6).info.n_threads == 512
    assert engine.load(path, n_threads=-3).info.n_threads >= 1


def test_progress_is_told_in_whole_percents(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf")
    run = engine.new_run()
    engine.send(Load(run=run, path=path))
    told = [e.fraction for e in engine.until_closed(run) if isinstance(e, LoadProgress)]
    assert told == sorted(told)
    assert told[-1] == 1
    percents = [int(100 * fraction) for fraction in told]
    assert len(set(percents)) == len(percents)


def test_a_stop_cancels_a_load_and_the_next_one_works(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf")
    first, second = engine.new_run(), engine.new_run()
    engine.send(Load(run=first, path=path))
    engine.send(Load(run=second, path=path))
    engine.send(Stop(run=second))
    engine.until_closed(first)
    cancelled = engine.until_closed(second)[-1]
    assert isinstance(cancelled, Failed)
    assert cancelled.kind == "EngineError"
    assert engine.load(path)


def test_a_stop_after_the_weights_are_read_cancels_too(
    engine: EngineDriver, tmp_path: Path
) -> None:
    """A template that takes its time holds the load up after the last progress."""
    path = gguf_models.write_llama(tmp_path / "slow.gguf", template=SLOW_TEMPLATE)
    run = engine.new_run()
    engine.send(Load(run=run, path=path))
    engine.wait_for(lambda event: isinstance(event, LoadProgress) and event.fraction == 1)
    engine.send(Stop(run=run))
    cancelled = engine.until_closed(run)[-1]
    assert isinstance(cancelled, Failed)
    assert cancelled.kind == "EngineError"
    assert isinstance(engine.generate("x").end, Failed)
    assert engine.load(gguf_models.write_llama(tmp_path / "tiny.gguf"))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"not a model at all, but text", "not a GGUF"),
        (b"GGUF\x03", "incomplete"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 400, "incomplete or damaged"),
        (b"GGUF\x63\0\0\0" + b"\0" * 400, "version 99"),
    ],
    ids=["empty", "text", "short", "garbage", "newer"],
)
def test_a_file_that_is_no_model(
    engine: EngineDriver, tmp_path: Path, content: bytes, word: str
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert_sentence(engine.load_fails(path), "bad.gguf", word)


@pytest.mark.parametrize("left", [24, 30, 200, 1000, 5000, -5000])
def test_a_truncated_model(engine: EngineDriver, tmp_path: Path, left: int) -> None:
    path = gguf_models.write_llama(tmp_path / "cut.gguf")
    path.write_bytes(path.read_bytes()[:left])
    failed = engine.load_fails(path)
    assert_sentence(failed, "cut.gguf", "incomplete or damaged")
    assert str(tmp_path) not in failed.title
    assert "llama_model_loader" not in failed.title


def test_a_damaged_header(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "hurt.gguf")
    data = bytearray(path.read_bytes())
    at = data.index(b"general.name")
    data[at - 8 : at] = b"\xff" * 8  # the length of that key
    path.write_bytes(data)
    assert_sentence(engine.load_fails(path), "hurt.gguf", "incomplete or damaged")


def test_a_tensor_of_an_unknown_type_is_named(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "new.gguf")
    data = bytearray(path.read_bytes())
    at = data.index(b"token_embd.weight") + len(b"token_embd.weight") + 4 + 2 * 8
    data[at : at + 4] = (222).to_bytes(4, "little")
    path.write_bytes(data)
    failed = engine.load_fails(path)
    assert_sentence(failed, "new.gguf", "type 222")
    assert "too new" in failed.advice


def test_a_path_that_leads_to_no_file(engine: EngineDriver, tmp_path: Path) -> None:
    assert_sentence(engine.load_fails(tmp_path / "none.gguf"), "no model file")
    assert_sentence(engine.load_fails(tmp_path), "directory")
    assert_sentence(engine.load_fails(tmp_path / "a\0b"), "cannot be read")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")
def test_files_that_cannot_be_opened_or_never_end(engine: EngineDriver, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    assert_sentence(engine.load_fails(pipe), "not a regular file")
    if os.geteuid() != 0:
        closed = gguf_models.write_llama(tmp_path / "closed.gguf")
        closed.chmod(0)
        assert_sentence(engine.load_fails(closed), "cannot be read")


def test_an_embedding_model_is_refused(engine: EngineDriver, tmp_path: Path) -> None:
    failed = engine.load_fails(gguf_models.write_bert(tmp_path / "bert.gguf"))
    assert_sentence(failed, "embedding model")


def test_an_unknown_architecture_is_named(engine: EngineDriver, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "new.gguf", "tomorrow")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_sentence(engine.load_fails(tmp_path / "new.gguf"), "tomorrow")


def test_a_name_from_the_file_is_cleaned(engine: EngineDriver, tmp_path: Path) -> None:
    path = gguf_models.write_llama(tmp_path / "tiny.gguf", name="A\x1b[31m\nname" + "x" * 500)
    name = engine.load(path).info.name
    assert "\x1b" not in name
    assert "\n" not in name
    assert len(name) <= 200


def test_a_failed_load_frees_the_model_before(engine: EngineDriver, tmp_path: Path) -> None:
    engine.load(gguf_models.write_llama(tmp_path / "tiny.gguf"))
    engine.load_fails(tmp_path / "none.gguf")
    assert isinstance(engine.generate("x").end, Failed)
