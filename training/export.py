"""Write a trained model as GGUF: F16 to check against, Q8_0 to ship.

python -m training.export [--out DIR] [--kind q8_0|f16] FILE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import quants

from training.model import Llama, Shape
from training.tokens import END, END_OF_TEXT, SPECIAL, TEMPLATE

NAME = "chatterm tiny"
DESCRIPTION = "A very small chat model that tells stories and explains how language models write."
_PARTS = {
    "attention.q": "attn_q",
    "attention.k": "attn_k",
    "attention.v": "attn_v",
    "attention.output": "attn_output",
    "attention_norm": "attn_norm",
    "feed_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}


def load(folder: Path) -> Llama:
    """The model as it was trained so far, in float32."""
    model = Llama(Shape())
    stored = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(stored["model"])
    return model.eval()


def write(model: Llama, tokenizer: Path, file: Path, kind: str) -> None:
    """Write `model` with its tokenizer; matrices as `kind`, norms in F32."""
    shape = model.shape
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name(NAME)
    writer.add_description(DESCRIPTION)
    writer.add_license("MIT")
    writer.add_file_type(
        gguf.LlamaFileType.MOSTLY_Q8_0 if kind == "q8_0" else gguf.LlamaFileType.MOSTLY_F16
    )
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.vocabulary)
    _add_tokenizer(writer, tokenizer)
    for name, tensor in model.state_dict().items():
        weights = tensor.float().numpy()
        if weights.ndim == 1:
            writer.add_tensor(_gguf_name(name), weights)
        elif kind == "q8_0":
            q8_0 = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(_gguf_name(name), quants.quantize(weights, q8_0), raw_dtype=q8_0)
        else:
            writer.add_tensor(_gguf_name(name), weights.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    if name == "embedding.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, layer, part = name.removesuffix(".weight").split(".", 2)
    return f"blk.{layer}.{_PARTS[part]}.weight"


def _add_tokenizer(writer: gguf.GGUFWriter, file: Path) -> None:
    stored = json.loads(file.read_text(encoding="utf-8"))["model"]
    tokens = sorted(stored["vocab"], key=lambda token: stored["vocab"][token])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in stored["merges"]]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index(END))
    writer.add_eot_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(END_OF_TEXT))
    writer.add_bos_token_id(tokens.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def main() -> None:
    """Export."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", type=Path)
    options.add_argument("--out", type=Path, default=Path("build/training"))
    options.add_argument("--kind", choices=("q8_0", "f16"), default="q8_0")
    chosen = options.parse_args()
    write(load(chosen.out), chosen.out / "tokenizer.json", chosen.file, chosen.kind)
    print(f"{chosen.file}: {chosen.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
