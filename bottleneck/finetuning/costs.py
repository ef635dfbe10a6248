"""What fine-tuning will cost: time for each epoch, live and from the cache, and room on the disk."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from bottleneck.bases.anatomy import BATCH, batch_seconds, multiply_adds
from bottleneck.bases.split import split_at
from bottleneck.finetuning.graph import Graph

# To train a layer takes the gradient of what it gives and of its weights, each about as much work as the
# layer itself.
_TRAINING = 3


@dataclass(frozen=True)
class Cost:
    """What it costs to train all above a cut.

    Attributes
    ----------
    cut : str
    bytes_per_image : int
        Of the activations at the cut, in float16.
    disk : int
        Bytes, for all images and views.
    caching : float
        Seconds to compute them, once.
    live, cached : float
        Seconds for an epoch: from pictures, and from the activations.
    """

    cut: str
    bytes_per_image: int
    disk: int
    caching: float
    live: float
    cached: float


def base_rate(graph: Graph) -> float:
    """Measure how many multiply-adds of the base are done in a second."""
    return BATCH * multiply_adds(graph.body) / batch_seconds(graph.body)


def predict_costs(
    graph: Graph, cuts: Iterable[str], rate: float, train: int, others: int, val: int, views: int
) -> tuple[Cost, ...]:
    """Predict what training costs above each of some cuts.

    Parameters
    ----------
    graph : Graph
    cuts : iterable of str
    rate : float
        Multiply-adds a second, see `base_rate`.
    train, others, val : int
        Images to train on, others that are only measured, and of these those measured after each epoch.
    views : int
        Views of each image besides the plain one.

    Notes
    -----
    The work is counted in multiply-adds of convolutions and dense layers; a step of training counts as three
    passes. Decoding is left out: threads do it meanwhile.
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
    """Lay costs out for people."""
    lines = [
        f"{'cut':<24} {'MB an image':>11} {'MB in all':>10} {'s to cache':>10} {'s an epoch, live':>17} {'cached':>7}"
    ]
    lines += [
        f"{cost.cut:<24} {cost.bytes_per_image / 1e6:>11.3f} {cost.disk / 1e6:>10.1f} {cost.caching:>10.1f} "
        f"{cost.live:>17.1f} {cost.cached:>7.1f}"
        for cost in costs
    ]
    lines.append(f"{free / 1e6:,.0f} MB of disk are free.")
    return lines


def is_cheaper(cost: Cost, epochs: int, free: int) -> bool:
    """Whether caching activations pays for itself over so many epochs, and they fit."""
    return cost.disk < free and cost.caching + epochs * cost.cached < epochs * cost.live
