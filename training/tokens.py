"""The tokenizer, and conversations as token ids with the weight of each in the loss.

A byte-level BPE as GPT-2's, so that any text can be written; ChatML's marks are single tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from training.sessions import Turn

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, START, END)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# What a token counts in the loss, in percent: what the model says, what is said to it, markup.
WEIGHTS = {"assistant": 100, "user": 20, "system": 0, "text": 40}
# A reply's first tokens say which answer it is and whom it is about; the rest follows from them.
OPENING, OPENING_WEIGHT = 24, 250


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of `size` tokens for these texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=3,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load(file: Path) -> Tokenizer:
    """A stored tokenizer."""
    return Tokenizer.from_file(str(file))


Encoded = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]


class Encoder:
    """Conversations and plain texts as ids and weights, uint16 and uint8 of the same length."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._start, self._end = (tokenizer.token_to_id(mark) for mark in (START, END))
        self._end_of_text = tokenizer.token_to_id(END_OF_TEXT)
        self._newline = self._ids("\n")
        self._heads = {role: self._ids(f"{role}\n") for role in ("system", "user", "assistant")}

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def session(self, turns: list[Turn]) -> Encoded:
        """A conversation as ChatML; only its assistant's ends count among the markup."""
        ids: list[int] = []
        weights: list[int] = []
        for role, text in turns:
            head, body = [self._start, *self._heads[role]], self._ids(text)
            weight = WEIGHTS[role]
            ids += [*head, *body, self._end, *self._newline]
            opening = min(len(body), OPENING) if role == "assistant" else 0
            weights += [0] * len(head) + [OPENING_WEIGHT] * opening
            weights += [weight] * (len(body) - opening)
            weights += [weight if role == "assistant" else 0, *([0] * len(self._newline))]
        return np.array(ids, np.uint16), np.array(weights, np.uint8)

    def text(self, text: str) -> Encoded:
        """A plain text with its end."""
        ids = [*self._ids(text), self._end_of_text]
        return np.array(ids, np.uint16), np.full(len(ids), WEIGHTS["text"], np.uint8)
