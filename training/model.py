"""The model: a Llama in torch, laid out as llama.cpp lays it out.

RMSNorm before each part, grouped-query attention with rotary positions on interleaved pairs
(2i, 2i+1), SwiGLU, the embedding used again as the output, no biases. (Touvron et al. 2023,
arXiv:2302.13971; rotary positions: Su et al. 2021, arXiv:2104.09864.)
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """How big the model is. `width` = `heads` × the size of a head; `feed_forward` is SwiGLU's."""

    vocabulary: int = 4096
    width: int = 384
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    feed_forward: int = 960
    context: int = 1024
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head(self) -> int:
        """The size of a head."""
        return self.width // self.heads

    def as_dict(self) -> dict[str, float]:
        """The fields, to be stored."""
        return asdict(self)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.kv_heads * shape.head
        self.q = nn.Linear(shape.width, shape.width, bias=False)
        self.k = nn.Linear(shape.width, kv, bias=False)
        self.v = nn.Linear(shape.width, kv, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x: batch × length × width; cos, sin: length × head / 2."""
        batch, length, width = x.shape
        shape = self.shape
        q = self.q(x).view(batch, length, shape.heads, shape.head).transpose(1, 2)
        k = self.k(x).view(batch, length, shape.kv_heads, shape.head).transpose(1, 2)
        v = self.v(x).view(batch, length, shape.kv_heads, shape.head).transpose(1, 2)
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        groups = shape.heads // shape.kv_heads
        k = k.repeat_interleave(groups, dim=1)
        v = v.repeat_interleave(groups, dim=1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(mixed.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        y = self.feed_norm(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Token ids to logits."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        cos, sin = angles(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("output.weight", "down.weight"))
                scale = 1 / math.sqrt(2 * shape.layers) if into_residual else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)

    def forward(self, ids: Tensor) -> Tensor:
        """ids: batch × length → logits: batch × length × vocabulary."""
        length = ids.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(self.norm(x), self.embedding.weight)


def angles(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, context × head / 2."""
    steps = torch.arange(0, shape.head, 2, dtype=torch.float64) / shape.head
    turns = torch.outer(torch.arange(shape.context, dtype=torch.float64), shape.rope_base**-steps)
    return turns.cos().float(), turns.sin().float()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x with its pairs (2i, 2i+1) turned by their positions' angles."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).type_as(x)
