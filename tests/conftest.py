"""Models that the tests write themselves, once for all of them."""

from pathlib import Path

import gguf_models
import pytest


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chat model whose replies never end by themselves, with a context of 8,192 tokens."""
    folder = tmp_path_factory.mktemp("models")
    return gguf_models.write_llama(folder / "chat.gguf", n_ctx=8192)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without a chat template."""
    folder = tmp_path_factory.mktemp("models")
    return gguf_models.write_llama(folder / "base.gguf", template=None, name="Tiny base")
