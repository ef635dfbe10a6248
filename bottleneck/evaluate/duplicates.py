"""Near-duplicate images, found by their features."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bottleneck.cache.features import Located
from bottleneck.heads.scaling import slices

# Cosine similarity of features after subtracting their mean. Measured on photographs of insects
# (MobileNet): an image saved again at low quality 0.97, brightened 0.99, halved in size 0.93, mirrored, or
# cropped by 5 % on each side, 0.90; a different image at most 0.78.
ALIKE = 0.85

# With features that separate images poorly (small networks, plain drawings) many images are that similar.
# A pair counts only if its distance is below this fraction of the distance to the tenth neighbour,
_CLOSER = 0.6
_NEIGHBOUR = 10

# ... measured in a random sample of at most this many images.
_SAMPLE = 2000

# Candidate pairs are found on random projections to this many dimensions, then compared with all
# dimensions. The error of a projection is small near a cosine of 1: 0.025 at 0.85 (Li, Hastie and Church
# 2006, Improving Random Projections Using Marginal Information). The slack is twice that error.
_DIMENSIONS = 128
_SLACK = 0.05

# Rows compared with all others per block: 100 MB of cosines for 50,000 images.
_ROWS = 512


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-duplicate or identical images.

    Attributes
    ----------
    pairs : ndarray of int64, shape (m, 2)
        Row numbers of the images; the first is the lower.
    cosines : ndarray of float32, shape (m,)
    groups : ndarray of int64, shape (n,)
        Group of each image. Images connected by pairs are in the same group.
    """

    pairs: NDArray[np.int64]
    cosines: NDArray[np.float32]
    groups: NDArray[np.int64]


def find_duplicates(images: Located, parts: Mapping[str, slice], seed: int) -> Duplicates:
    """Find near-duplicates: for each image, the most similar one overall and in other splits.

    Parameters
    ----------
    images : Located
        Images of all splits, one split after the other. Their features are read in slices.
    parts : dict of slice
        Rows of each split.
    seed : int
        Random seed for the projection and the sample.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(images.rows)
    rng = np.random.default_rng(seed)
    center = _center(images)
    units = _project(images, center, rng)
    candidates = np.concatenate([_same_bytes(images), _nearest(units, parts)])
    candidates = np.unique(np.sort(candidates, axis=1), axis=0)
    cosines = _cosines(images, center, candidates)
    usual = _usual_distance(units, rng)
    distance = np.sqrt(np.maximum(2 - 2 * cosines, 0))
    digests = np.array([row.digest for row in images.rows])
    identical = digests[candidates[:, 0]] == digests[candidates[:, 1]]
    near = (cosines >= ALIKE) & (distance <= _CLOSER * usual[candidates].min(axis=1))
    kept = identical | near
    pairs = candidates[kept]
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    _, groups = connected_components(edges, directed=False)
    return Duplicates(pairs, np.where(identical, 1, cosines)[kept], groups.astype(np.int64))


def pool_maps(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average maps over their positions; vectors are returned unchanged."""
    return X if X.ndim == 2 else X.reshape(len(X), -1, X.shape[-1]).mean(axis=1)


def _center(images: Located) -> NDArray[np.float64]:
    n = len(images.rows)
    parts = slices(n, images.shape)
    total = sum(pool_maps(images.gather(part).X).sum(0, np.float64) for part in parts)
    return np.asarray(total / n)


def _units(
    images: Located, center: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    X = pool_maps(images.take(rows).gather(slice(None)).X) - center.astype(np.float32)
    length = np.linalg.norm(X, axis=1, keepdims=True)
    X /= np.where(length > 0, length, 1)
    return X


def _project(
    images: Located, center: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    n, width = len(images.rows), len(center)
    many = width > _DIMENSIONS
    along = rng.standard_normal((width, _DIMENSIONS), np.float32) if many else np.eye(width)
    projected = np.empty((n, along.shape[1]), np.float32)
    for part in slices(n, images.shape):
        projected[part] = _units(images, center, np.arange(part.start, part.stop)) @ along
    length = np.linalg.norm(projected, axis=1, keepdims=True)
    projected /= np.where(length > 0, length, 1)
    return projected


def _nearest(units: NDArray[np.float32], parts: Mapping[str, slice]) -> NDArray[np.int64]:
    """Pair each image with the most similar of all others, and with that of other splits."""
    found = [np.empty((0, 2), np.int64)]
    for own in parts.values():
        for start in range(own.start, own.stop, _ROWS):
            rows = np.arange(start, min(start + _ROWS, own.stop))
            cosines = units[rows] @ units.T
            cosines[np.arange(len(rows)), rows] = -1
            for others_only in (False, True):
                if others_only:
                    cosines[:, own] = -1
                nearest = cosines.argmax(axis=1)
                close = cosines[np.arange(len(rows)), nearest] >= ALIKE - _SLACK
                found.append(np.stack([rows, nearest], axis=1)[close])
    return np.concatenate(found)


def _same_bytes(images: Located) -> NDArray[np.int64]:
    # train comes first: an image of another split is paired with its copy in train, if there is one
    first: dict[str, int] = {}
    firsts = [first.setdefault(row.digest, i) for i, row in enumerate(images.rows)]
    copies = [(other, i) for i, other in enumerate(firsts) if other != i]
    return np.array(copies, np.int64).reshape(-1, 2)


def _cosines(
    images: Located, center: NDArray[np.float64], pairs: NDArray[np.int64]
) -> NDArray[np.float32]:
    cosines = np.empty(len(pairs), np.float32)
    for part in slices(len(pairs), images.shape):
        first, second = (_units(images, center, pairs[part, side]) for side in (0, 1))
        cosines[part] = (first * second).sum(axis=1)
    return cosines


def _usual_distance(units: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Distance of each image to its tenth nearest neighbour in a sample of the images."""
    n = len(units)
    sample = units[rng.choice(n, min(n, _SAMPLE), replace=False)]
    rank = min(_NEIGHBOUR, len(sample) - 1)
    distance = np.empty(n, np.float32)
    for start in range(0, n, _ROWS):
        cosines = units[start : start + _ROWS] @ sample.T
        tenth = np.partition(cosines, len(sample) - 1 - rank, axis=1)[:, len(sample) - 1 - rank]
        distance[start : start + _ROWS] = np.sqrt(np.maximum(2 - 2 * tenth, 0))
    return distance
