"""Check an exported model against the trained one: llama.cpp's logits against torch's, and its
tokens against the tokenizer's.

    python -m training.verify [--out DIR]

Ends with 1 when F16 logits differ by more than 0.05 or a text is cut into other tokens.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import sys
import tempfile
from pathlib import Path

import llama_cpp.llama_cpp as llama
import numpy as np
import torch

from training import export, tokens
from training.sessions import held_out

MOST_APART = 0.05
POSITIONS = 600
HARD = (
    *(
        "",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        " \n ",
        "a",
        " a",
        "  a",
        "a  b",
        "don't",
        "DON'T",
        "it's 3:30",
    ),
    *(
        "naïve café",
        "Zażółć gęślą jaźń",
        "Привет, мир",
        "日本語のテキスト",
        "한국어",
        "العربية",
        "हिन्दी",
    ),
    *(
        "🦊",
        "👩‍👩‍👧",
        "e\u0301",
        "1234567890",
        "3.14",
        "-1",
        "x_y",
        "C++",
        "<b>",
        "<|im_end|",
        "|>",
        "a\u00a0b",
    ),
    *('"quoted"', "“curly”", "...", "—", "?!", "://", "user@example.org", "\\n", "{{x}}", "100 %"),
)


class Native:
    """A GGUF in llama.cpp, without anything of chatterm's."""

    def __init__(self, file: Path, context: int) -> None:
        model = llama.llama_model_default_params()
        model.use_extra_bufts = False  # see chatterm.engine.kernels
        self._model = llama.llama_model_load_from_file(str(file).encode(), model)
        parameters = llama.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = context
        self._context = llama.llama_init_from_model(self._model, parameters)
        self._vocab = llama.llama_model_get_vocab(self._model)
        self._size = llama.llama_vocab_n_tokens(self._vocab)

    def tokens(self, text: str) -> list[int]:
        """The tokens of plain text."""
        data = text.encode()
        room = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self._vocab, data, len(data), room, len(room), False, False)
        return list(room[:count])

    def logits(self, ids: list[int]) -> np.ndarray:
        """The logits after each of these tokens."""
        batch = llama.llama_batch_init(len(ids), 0, 1)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        batch.n_tokens = len(ids)
        if llama.llama_decode(self._context, batch):
            raise RuntimeError("llama.cpp did not decode")
        rows = [
            np.ctypeslib.as_array(
                llama.llama_get_logits_ith(self._context, at), (self._size,)
            ).copy()
            for at in range(len(ids))
        ]
        llama.llama_batch_free(batch)
        return np.stack(rows)


def main() -> None:
    """Verify."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("build/training"))
    chosen = options.parse_args()
    silent = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(silent, ctypes.c_void_p())
    model = export.load(chosen.out)
    tokenizer = tokens.load(chosen.out / "tokenizer.json")
    texts = hard_texts()
    story = "Once upon a time there was a fox named Biscuit. " * 200
    ids = tokenizer.encode(story).ids[:POSITIONS]
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0].numpy()
    fine = True
    for kind in ("f16", "q8_0"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.gguf")
            export.write(model, chosen.out / "tokenizer.json", file, kind)
            native = Native(file, model.shape.context)
            logits = native.logits(ids)
            apart = np.abs(logits - expected)
            same = np.mean(logits.argmax(axis=1) == expected.argmax(axis=1))
            print(
                f"{kind}: logits differ by {apart.max():.4f} at most, by {apart.mean():.4f} on "
                f"average; the likeliest token is the same at {same:.1%} of {len(ids)} places"
            )
            fine &= kind != "f16" or bool(apart.max() <= MOST_APART)
            wrong = [text for text in texts if native.tokens(text) != tokenizer.encode(text).ids]
            back = [text for text in texts if tokenizer.decode(tokenizer.encode(text).ids) != text]
            print(
                f"{kind}: of {len(texts)} texts {len(wrong)} are cut differently, "
                f"{len(back)} do not come back"
            )
            fine &= not wrong and not back
    sys.exit(not fine)


def hard_texts() -> list[str]:
    """300 texts that are hard on a tokenizer, and what users may ask."""
    draw = random.Random(1)  # noqa: S311
    texts = list(HARD)
    texts += [row["ask"] for row in held_out("questions")["question"]]
    texts += [row["ask"] for row in held_out("languages")["line"]]
    while len(texts) < 300:
        letters = [
            chr(draw.choice((draw.randrange(32, 127), draw.randrange(160, 0x3000))))
            for _ in range(30)
        ]
        texts.append("".join(letters))
    return texts[:300]


if __name__ == "__main__":
    main()
