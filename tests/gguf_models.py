"""Tiny models for tests: real GGUF files of well under a megabyte, the same bytes for a seed.

Their weights are random but for one dimension of the residual stream that every token holds at the
same value and no layer writes to. The output's column for it is a bias for each token, which makes
printable text likely and says how soon a reply ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DIM, HEADS, FEED_FORWARD = 32, 4, 64
NEVER = -40.0  # a bias that ends no reply
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "ran", "home", "in", "rain", "she", "said"]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = (
    int(kind)
    for kind in (
        gguf.TokenType.NORMAL,
        gguf.TokenType.UNKNOWN,
        gguf.TokenType.CONTROL,
        gguf.TokenType.USER_DEFINED,
        gguf.TokenType.BYTE,
    )
)


def write_llama(
    path: Path,
    *,
    template: str | None = CHATML,
    n_ctx: int = 2048,
    seed: int = 1,
    eog_bias: float = NEVER,
    layers: int = 2,
    name: str = "Tiny llama",
    damaged: bool = False,
    user_defined: Sequence[str] = (),
) -> Path:
    """A llama with a byte-level BPE vocabulary and ChatML's control tokens.

    damaged: its weights hold a NaN. user_defined: special tokens besides, that have a text.
    """
    writer = gguf.GGUFWriter(path, "llama")
    bias = _add_bpe_vocabulary(writer, eog_bias, "<|im_end|>", user_defined)
    return _finish_llama(writer, path, name, template, n_ctx, seed, layers, bias, damaged)


def write_spm(
    path: Path,
    *,
    template: str | None = None,
    n_ctx: int = 2048,
    seed: int = 2,
    eog_bias: float = NEVER,
    layers: int = 2,
    name: str = "Tiny SPM",
) -> Path:
    """A llama with a SentencePiece vocabulary, which begins with a begin token and a space."""
    tokens, kinds, scores = _spm_vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_scores(scores)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    bias = _biases(tokens, kinds, eog_bias, _printable_spm)
    return _finish_llama(writer, path, name, template, n_ctx, seed, layers, bias, False)


def write_gpt2(
    path: Path,
    *,
    template: str | None = None,
    n_ctx: int = 64,
    seed: int = 3,
    eog_bias: float = NEVER,
    name: str = "Tiny GPT-2",
) -> Path:
    """A GPT-2, whose positions are learned: beyond `n_ctx` there are none."""
    writer = gguf.GGUFWriter(path, "gpt2")
    bias = _add_bpe_vocabulary(writer, eog_bias, "<|endoftext|>")
    writer.add_layer_norm_eps(1e-5)
    _add_shape(writer, name, template, n_ctx, 1)
    tensors = _Tensors(writer, seed)
    tensors.embedding(len(bias))
    positions = tensors.random(n_ctx, DIM)
    positions[:, 0] = 0
    writer.add_tensor("position_embd.weight", positions)
    for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(DIM, np.float32))
        writer.add_tensor(f"{norm}.bias", np.zeros(DIM, np.float32))
    for part, rows, columns in (
        ("attn_qkv", 3 * DIM, DIM),
        ("attn_output", DIM, DIM),
        ("ffn_up", FEED_FORWARD, DIM),
        ("ffn_down", DIM, FEED_FORWARD),
    ):
        tensors.matrix(f"blk.0.{part}.weight", rows, columns)
        writer.add_tensor(f"blk.0.{part}.bias", np.zeros(rows, np.float32))
    tensors.output(bias)
    return _write(writer, path)


def write_mamba(path: Path, *, template: str | None = CHATML, seed: int = 6) -> Path:
    """A recurrent model: its one state is after all tokens, and cannot be cut back."""
    inner, state, convolution, rank, layers = 2 * DIM, 8, 4, 2, 2
    writer = gguf.GGUFWriter(path, "mamba")
    bias = _add_bpe_vocabulary(writer, NEVER, "<|im_end|>")
    _add_shape(writer, "Tiny Mamba", template, 2048, layers)
    writer.add_ssm_conv_kernel(convolution)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    tensors = _Tensors(writer, seed)
    tensors.embedding(len(bias))
    writer.add_tensor("output_norm.weight", np.ones(DIM, np.float32))
    for layer in range(layers):
        block = f"blk.{layer}"
        writer.add_tensor(f"{block}.attn_norm.weight", np.ones(DIM, np.float32))
        for part, rows, columns in (
            ("ssm_in", 2 * inner, DIM),
            ("ssm_conv1d", inner, convolution),
            ("ssm_x", rank + 2 * state, inner),
            ("ssm_dt", inner, rank),
            ("ssm_out", DIM, inner),
        ):
            tensors.matrix(f"{block}.{part}.weight", rows, columns)
        for bias_of in ("ssm_conv1d", "ssm_dt"):
            writer.add_tensor(f"{block}.{bias_of}.bias", np.zeros(inner, np.float32))
        writer.add_tensor(f"{block}.ssm_a", -np.abs(tensors.random(inner, state)))
        writer.add_tensor(f"{block}.ssm_d", np.ones(inner, np.float32))
    tensors.output(bias)
    return _write(writer, path)


def write_gemma(path: Path, *, window: int, template: str | None = CHATML, seed: int = 7) -> Path:
    """A Gemma 3: five of its six layers see only the last `window` tokens."""
    layers = 6
    writer = gguf.GGUFWriter(path, "gemma3")
    bias = _add_bpe_vocabulary(writer, NEVER, "<|im_end|>")
    _add_shape(writer, "Tiny Gemma", template, 2048, layers)
    writer.add_head_count_kv(HEADS)
    writer.add_key_length(DIM // HEADS)
    writer.add_value_length(DIM // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_sliding_window(window)
    tensors = _Tensors(writer, seed)
    tensors.embedding(len(bias))
    writer.add_tensor("output_norm.weight", np.ones(DIM, np.float32))
    for layer in range(layers):
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(DIM, np.float32))
        for norm in ("attn_q_norm", "attn_k_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(DIM // HEADS, np.float32))
        tensors.attention_and_feed_forward(layer)
    tensors.output(bias)
    return _write(writer, path)


def write_bert(path: Path) -> Path:
    """The header of an embedding model, which cannot write text; it has a vocabulary only."""
    writer = gguf.GGUFWriter(path, "bert")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat"]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL] * 5 + [_NORMAL] * 2)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_token_type_count(2)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    _add_shape(writer, "Tiny BERT", None, 64, 1)
    tensors = _Tensors(writer, 4)
    tensors.embedding(len(tokens))
    writer.add_tensor("token_types.weight", tensors.random(2, DIM))
    writer.add_tensor("position_embd.weight", tensors.random(64, DIM))
    for norm in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(DIM, np.float32))
        writer.add_tensor(f"{norm}.bias", np.zeros(DIM, np.float32))
    for part, rows, columns in (
        ("attn_q", DIM, DIM),
        ("attn_k", DIM, DIM),
        ("attn_v", DIM, DIM),
        ("attn_output", DIM, DIM),
        ("ffn_up", FEED_FORWARD, DIM),
        ("ffn_down", DIM, FEED_FORWARD),
    ):
        tensors.matrix(f"blk.0.{part}.weight", rows, columns)
        writer.add_tensor(f"blk.0.{part}.bias", np.zeros(rows, np.float32))
    return _write(writer, path)


def write_with_vocabulary(path: Path, vocabulary: Path, *, template: str | None) -> Path:
    """A llama with the vocabulary of another GGUF file; as big as that makes it."""
    reader = gguf.GGUFReader(vocabulary)
    writer = gguf.GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("tokenizer.") or key == "tokenizer.chat_template":
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, field.contents())
        else:
            writer.add_key_value(key, field.contents(), field.types[0])
    bias = np.zeros(len(reader.fields["tokenizer.ggml.tokens"].data), np.float32)
    return _finish_llama(writer, path, "Tiny", template, 8192, 5, 1, bias, False)


class _Tensors:
    """Adds random tensors to a file; none but the embedding touches the first dimension."""

    def __init__(self, writer: gguf.GGUFWriter, seed: int) -> None:
        self._writer = writer
        self._random = np.random.default_rng(seed)

    def random(self, rows: int, columns: int) -> np.ndarray:
        scale = 1 / np.sqrt(columns)
        return (self._random.standard_normal((rows, columns)) * scale).astype(np.float32)

    def embedding(self, n_vocab: int) -> None:
        weights = 3 * self.random(n_vocab, DIM)
        weights[:, 0] = 1
        self._writer.add_tensor("token_embd.weight", weights)

    def matrix(self, name: str, rows: int, columns: int) -> None:
        weights = self.random(rows, columns)
        if any(part in name for part in ("attn_output", "ffn_down", "ssm_out")):
            weights[0] = 0
        self._writer.add_tensor(name, weights)

    def attention_and_feed_forward(self, layer: int) -> None:
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            self.matrix(f"blk.{layer}.{part}.weight", DIM, DIM)
        self.matrix(f"blk.{layer}.ffn_gate.weight", FEED_FORWARD, DIM)
        self.matrix(f"blk.{layer}.ffn_up.weight", FEED_FORWARD, DIM)
        self.matrix(f"blk.{layer}.ffn_down.weight", DIM, FEED_FORWARD)

    def output(self, bias: np.ndarray) -> None:
        weights = 3 * self.random(len(bias), DIM)
        weights[:, 0] = bias
        self._writer.add_tensor("output.weight", weights)


def _finish_llama(
    writer: gguf.GGUFWriter,
    path: Path,
    name: str,
    template: str | None,
    n_ctx: int,
    seed: int,
    layers: int,
    bias: np.ndarray,
    damaged: bool,
) -> Path:
    _add_shape(writer, name, template, n_ctx, layers)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(DIM // HEADS)
    tensors = _Tensors(writer, seed)
    tensors.embedding(len(bias))
    writer.add_tensor("output_norm.weight", np.ones(DIM, np.float32))
    for layer in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            weights = np.full(DIM, np.nan if damaged else 1, np.float32)
            writer.add_tensor(f"blk.{layer}.{norm}.weight", weights)
        tensors.attention_and_feed_forward(layer)
    tensors.output(bias)
    return _write(writer, path)


def _add_shape(
    writer: gguf.GGUFWriter, name: str, template: str | None, n_ctx: int, layers: int
) -> None:
    writer.add_name(name)
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(DIM)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if template is not None:
        writer.add_chat_template(template)


def _write(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_token(byte: int) -> int:
    """The token of a byte alone, in the BPE vocabulary of these models."""
    return _bpe_vocabulary()[0].index(_byte_letters()[byte])


def user_defined_token(index: int) -> int:
    """The token of the `user_defined` string with that index."""
    return len(_bpe_vocabulary()[0]) + index


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: itself where it is printable, else one from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return [
        chr(byte) if byte in printable else chr(256 + hidden.index(byte)) for byte in range(256)
    ]


def _add_bpe_vocabulary(
    writer: gguf.GGUFWriter, eog_bias: float, end: str, user_defined: Sequence[str] = ()
) -> np.ndarray:
    """The vocabulary, with `end` as the token that ends a reply; its tokens' biases."""
    tokens, kinds, merges = _bpe_vocabulary()
    tokens += user_defined
    kinds += [_USER_DEFINED] * len(user_defined)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index(end))
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    return _biases(tokens, kinds, eog_bias, _printable_bpe)


def _bpe_vocabulary() -> tuple[list[str], list[int], list[str]]:
    letters = _byte_letters()
    tokens, merges = list(letters), []
    for word in WORDS:
        left = letters[ord(" ")]
        for letter in word:
            if left + letter not in tokens:
                merges.append(f"{left} {letter}")
                tokens.append(left + letter)
            left += letter
    kinds = [_NORMAL] * len(tokens)
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return tokens + specials, kinds + [_CONTROL] * len(specials), merges


def _spm_vocabulary() -> tuple[list[str], list[int], list[float]]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
    pieces = ["▁", *(chr(code) for code in range(33, 127)), "é", "ü", "日", "本"]
    for word in WORDS:
        pieces += [f"▁{word[:end]}" for end in range(1, len(word) + 1)]
    pieces = list(dict.fromkeys(pieces))
    scores = [0.0] * len(tokens) + [float(len(piece)) for piece in pieces]
    return tokens + pieces, kinds + [_NORMAL] * len(pieces), scores


def _printable_bpe(token: str) -> bool:
    return all("!" <= letter <= "~" or letter in "ĠĊ" for letter in token)


def _printable_spm(token: str) -> bool:
    return not token.startswith("<0x")


def _biases(
    tokens: Sequence[str], kinds: Sequence[int], eog_bias: float, printable: object
) -> np.ndarray:
    assert callable(printable)
    bias = np.array([0.0 if printable(token) else -9.0 for token in tokens], np.float32)
    bias[[kind in (_CONTROL, _UNKNOWN) for kind in kinds]] = NEVER
    for ending in ("</s>", "<|im_end|>", "<|endoftext|>"):
        if ending in tokens:
            bias[tokens.index(ending)] = eog_bias
    return bias
