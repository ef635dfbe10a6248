"""Estimated cost of fine-tuning: time per epoch, live and from the cache, and disk space."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bottleneck.bases.anatomy import BATCH, batch_seconds, multiply_adds
from bottleneck.bases.split import split_at
from bottleneck.finetuning.graph import Graph

# Work of training a layer, relative to its forward pass: the gradients of its inputs and of its weights each take
# about as much work again.
_TRAINING = 3


@dataclass(frozen=True)
class Cost:
    """Cost of training the layers above a cut.

    Attributes
    ----------
    cut : str
    bytes_per_image : int
        Size of the activations at the cut, in float16.
    disk : int
        Bytes for all images and views.
    caching : float
        Seconds to compute the activations once.
    live, cached : float
        Seconds per epoch, from images and from the activations.
    """

    cut: str
    bytes_per_image: int
    disk: int
    caching: float
    live: float
    cached: float


def base_rate(graph: Graph) -> float:
    """Measure the multiply-adds per second of the base."""
    return BATCH * multiply_adds(graph.body) / batch_seconds(graph.body)


def predict_costs(
    graph: Graph, cuts: Iterable[str], rate: float, train: int, others: int, val: int, views: int
) -> tuple[Cost, ...]:
    """Estimate the cost of training above each cut.

    Parameters
    ----------
    graph : Graph
    cuts : iterable of str
    rate : float
        Multiply-adds per second, see `base_rate`.
    train, others, val : int
        Number of training images, of other images, and of those other images that are in the validation split.
    views : int
        Augmented views of each image.

    Notes
    -----
    Work is counted in multiply-adds of convolutions and dense layers; a training step counts as three forward
    passes. Decoding is ignored, because it runs in other threads.
    """
    whole = multiply_adds(graph.body)
    found = []
    for cut in cuts:
        lower, upper = split_at(graph.base, graph.body, cut)
        each = 2 * int(np.prod(upper.input_shape[1:]))
        above = whole - multiply_adds(lower)
        images = train + others
        found.append(
            Cost(
                cut=cut,
                bytes_per_image=each,
                disk=each * images * (views + 1),
                caching=multiply_adds(lower) * images * (views + 1) / rate,
                live=((whole - above + _TRAINING * above) * train + whole * val) / rate,
                cached=(_TRAINING * above * train + above * val) / rate,
            )
        )
    return tuple(found)


def cost_lines(costs: Iterable[Cost], free: int) -> list[str]:
    """Format costs as a table."""
    lines = [
        f"{'cut':<24} {'MB an image':>11} {'MB in all':>10} {'s to cache':>10} {'s an epoch, live':>17} {'cached':>7}"
    ]
    lines += [
        f"{cost.cut:<24} {cost.bytes_per_image / 1e6:>11.3f} {cost.disk / 1e6:>10.1f} {cost.caching:>10.1f} "
        f"{cost.live:>17.1f} {cost.cached:>7.1f}"
        for cost in costs
    ]
    lines.append(f"{free / 1e6:,.0f} MB of disk space are free.")
    return lines


def is_cheaper(cost: Cost, epochs: int, free: int) -> bool:
    """Whether training from the cache is faster over all epochs, and the activations fit on the disk."""
    return cost.disk < free and cost.caching + epochs * cost.cached < epochs * cost.live
