"""Transformer blocks: pre-normalisation, no biases, queries and keys normalised for each head (QK norm)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

QK_EPSILON = 1e-5
LOGITS_AT_ONCE = 1 << 20  # of attention by products: 2 MB in bfloat16, which stay in a cache
MIN_QUERIES = 256  # taken at once by it, for products of this many rows run at full speed


class KeysValues(NamedTuple):
    """Keys and values of a cross-attention's context, (B, heads, N, head_width) each."""

    keys: Tensor
    values: Tensor


class Heads(nn.Module):
    """Splits tokens into heads and normalises queries and keys."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.query_norm = nn.RMSNorm(head_width, eps=QK_EPSILON)
        self.key_norm = nn.RMSNorm(head_width, eps=QK_EPSILON)

    def split(self, tokens: Tensor) -> Tensor:
        """(B, N, C) to (B, heads, N, head_width)."""
        return tokens.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def queries(self, tokens: Tensor) -> Tensor:
        """Normalised queries of projected tokens, in single precision."""
        return self.query_norm(self.split(tokens).float())

    def keys(self, tokens: Tensor) -> Tensor:
        """Normalised keys of projected tokens, in single precision."""
        return self.key_norm(self.split(tokens).float())


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention, heads joined again.

    Args:
        queries: (B, heads, N, head_width).
        keys: (B, heads, M, head_width).
        values: (B, heads, M, head_width); their type is the type in which products are taken.

    Returns:
        (B, N, C).
    """
    queries, keys = queries.to(values.dtype), keys.to(values.dtype)
    half_on_cpu = values.device.type == "cpu" and values.dtype == torch.bfloat16
    if half_on_cpu and torch.is_grad_enabled():  # the fused backward pass is slower still
        result = torch.softmax(queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2), -1) @ values
    elif half_on_cpu:
        result = _attend_by_products(queries, keys, values)
    else:
        result = scaled_dot_product_attention(queries, keys, values)
    return result.transpose(1, 2).flatten(-2)


def _attend_by_products(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention as two matrix products and a softmax, some queries at a time.

    PyTorch's fused attention takes bfloat16 products on CPUs without matrix units (AMX) no faster than single
    precision; its plain matrix products there are 2.5 times as fast.
    """
    batch, heads, count, width = queries.shape
    # Contiguous for each head: strided operands halve the speed of the products.
    queries, keys, values = (part.contiguous().flatten(0, 1) for part in (queries * width**-0.5, keys, values))
    keys = keys.transpose(1, 2)
    together = max(1, LOGITS_AT_ONCE // keys.shape[2])  # rows of logits
    size = min(count, max(together // heads, MIN_QUERIES))
    groups = max(torch.get_num_threads(), together // max(size, 1))  # heads at once; each thread works on its own
    result = torch.empty_like(queries)
    for first in range(0, batch * heads, groups):
        group = slice(first, first + groups)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            logits = torch.bmm(queries[group, rows], keys[group])
            torch.bmm(torch.softmax(logits, -1), values[group], out=result[group, rows])
    return result.unflatten(0, (batch, heads))


def feed_forward(width: int) -> nn.Sequential:
    """The two-layer perceptron of a block."""
    return nn.Sequential(nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False))


class SelfAttentionBlock(nn.Module):
    """Self-attention and a perceptron, each on normalised tokens and added to them."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.heads = Heads(head_width)
        self.merge = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.feed = feed_forward(width)

    def forward(self, tokens: Tensor, only: slice | None = None) -> Tensor:
        """New tokens.

        Args:
            tokens: (B, N, C).
            only: of these, the ones whose new values are needed; None for all.
        """
        queries, keys, values = self.project(self.norm(tokens)).chunk(3, -1)
        if only is not None:
            tokens, queries = tokens[:, only], queries[:, only]
        heads = self.heads
        tokens = tokens + self.merge(attend(heads.queries(queries), heads.keys(keys), heads.split(values)))
        return tokens + self.feed(self.feed_norm(tokens))


class CrossAttentionBlock(nn.Module):
    """Attention of tokens to a context, and a perceptron."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, bias=False)
        self.context_norm = nn.LayerNorm(width, bias=False)
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key = nn.Linear(width, width, bias=False)
        self.to_value = nn.Linear(width, width, bias=False)
        self.heads = Heads(head_width)
        self.merge = nn.Linear(width, width, bias=False)
        self.feed_norm = nn.LayerNorm(width, bias=False)
        self.feed = feed_forward(width)

    def keys_values(self, context: Tensor) -> KeysValues:
        """Keys and values of a context (B, N, C)."""
        context = self.context_norm(context)
        return KeysValues(self.heads.keys(self.to_key(context)), self.heads.split(self.to_value(context)))

    def queries(self, tokens: Tensor) -> Tensor:
        """Queries (B, heads, N, head_width) of tokens (B, N, C)."""
        return self.heads.queries(self.to_query(self.query_norm(tokens)))

    def respond(self, tokens: Tensor, queries: Tensor, context: KeysValues) -> Tensor:
        """New tokens from tokens, their queries, and a context's keys and values; batch sizes broadcast."""
        queries = queries.expand(len(context.keys), -1, -1, -1)
        tokens = tokens + self.merge(attend(queries, *context))
        return tokens + self.feed(self.feed_norm(tokens))

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """New tokens (B, N, C) from tokens and a context (B, M, C)."""
        return self.respond(tokens, self.queries(tokens), self.keys_values(context))
