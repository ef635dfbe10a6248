"""Heads against the plainest correct script: `python -m benchmarks.heads`."""

import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from benchmarks.timing import alternate, show
from bottleneck.heads.contract import Head, Sample
from bottleneck.heads.registry import complete_params, find_head

ROWS, WIDTH, CLASSES, ROUNDS = 50_000, 2048, 10, 3

# With this distance between the classes a logistic regression at C=1e-3 is right about 73 %.
DISTANCE = 0.051

# What a head is compared with, and on how many rows: the time of some grows with their square.
PLAIN: dict[str, tuple[Callable[[], Any], int]] = {
    "sgd": (lambda: make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss")), ROWS),
    "ridge": (lambda: make_pipeline(StandardScaler(), RidgeClassifier()), ROWS),
    "svm": (lambda: make_pipeline(StandardScaler(), Normalizer(), LinearSVC(dual="auto")), 10_000),
    "rbf": (lambda: make_pipeline(StandardScaler(), SVC()), 4_000),
    "knn": (
        lambda: make_pipeline(
            StandardScaler(), Normalizer(), KNeighborsClassifier(algorithm="brute", n_jobs=-1)
        ),
        ROWS,
    ),
    "centroid": (lambda: make_pipeline(StandardScaler(), NearestCentroid()), ROWS),
    "lda": (lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), 20_000),
    "bayes": (GaussianNB, ROWS),
    "forest": (lambda: RandomForestClassifier(n_jobs=-1), 10_000),
    "extra-trees": (lambda: ExtraTreesClassifier(n_jobs=-1), 10_000),
    "boosting": (lambda: HistGradientBoostingClassifier(max_iter=10), 2_000),
}
PARAMS: dict[str, dict[str, Any]] = {"boosting": {"max_iter": 10}}


def synthetic(count: int, seed: int) -> Sample:
    """Make noise around ten random means, rounded to half precision as a cache keeps it."""
    means = np.random.default_rng(0).standard_normal((CLASSES, WIDTH), np.float32)
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    X = np.empty((count, WIDTH), np.float32)
    for start in range(0, count, 1000):  # in parts, so that the peak of memory is not here
        part = slice(start, start + 1000)
        noise = rng.standard_normal(X[part].shape, np.float32)
        X[part] = (noise + np.float32(DISTANCE) * means[y[part]]).astype(np.float16)
    return Sample(X, y)


def copy(sample: Sample, rows: int | None = None) -> Sample:
    """Copy a sample, for a head overwrites it."""
    return Sample(sample.X[:rows].copy(), sample.y[:rows])


def fitted(name: str, train: Sample, val: Sample, **params: Any) -> Head:
    """Fit a head of ours."""
    kind = find_head(name)
    return kind.fit(train, val, CLASSES, 0, complete_params(kind, params))


def accuracy(proba: NDArray[np.floating[Any]], y: NDArray[np.int64]) -> float:
    """Share of rows whose most probable class is the right one."""
    return float((proba.argmax(axis=1) == y).mean())


def logistic(train: Sample, val: Sample, test: Sample) -> None:
    """The whole path against one value, on features standardised in advance."""
    right: dict[str, float] = {}

    def path() -> None:
        head = fitted("logistic", copy(train), copy(val))
        right["path"] = accuracy(head.predict_proba(test.X), test.y)

    def one() -> None:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3)).fit(train.X, train.y)
        right["one"] = accuracy(model.predict_proba(test.X), test.y)

    jobs = {"LogisticRegression(C=1e-3).fit": one, "logistic, 45 values": path}
    show("logistic", alternate(jobs, ROUNDS), "LogisticRegression(C=1e-3).fit", ROWS)
    print(f"  test accuracy: {right['one']:.4f} with one value, {right['path']:.4f} with the path")


def dense(train: Sample, val: Sample) -> None:
    """An epoch against its matrix products alone, in batches of the same size."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    W, V = (
        tf.constant(rng.standard_normal(shape, np.float32))
        for shape in ((WIDTH, 512), (512, CLASSES))
    )
    sizes = []

    @tf.function
    def products(X: Any) -> Any:
        hidden = X @ W
        out = hidden @ V
        back = tf.matmul(out, V, transpose_b=True)
        changes = tf.matmul(hidden, out, transpose_a=True), tf.matmul(X, back, transpose_a=True)
        return [tf.reduce_sum(change) for change in changes]  # or they would be left out

    def epochs(number: int) -> Callable[[], None]:
        def job() -> None:
            head = fitted("dense", copy(train), copy(val), hidden=[512], epochs=number)
            sizes.append(head.chosen["batch_size"])

        return job

    def alone() -> None:
        for start in range(0, ROWS, sizes[0]):
            products(tf.constant(train.X[start : start + sizes[0]]))

    jobs = {"1 epoch": epochs(1), "3 epochs": epochs(3), "products of an epoch": alone}
    seconds = alternate(jobs, ROUNDS)
    show("dense --hidden 512", seconds, "products of an epoch", ROWS)
    ratios = [
        (three - one) / 2 / alone
        for one, three, alone in zip(
            seconds["1 epoch"], seconds["3 epochs"], seconds["products of an epoch"], strict=True
        )
    ]
    print(f"  one epoch more: × {statistics.median(ratios):.2f} of its matrix products")


def others(train: Sample, val: Sample, test: Sample) -> None:
    """All others, calibrated where they have no probabilities, against the bare estimators."""
    for name, (plain, rows) in PLAIN.items():
        right = {}

        def ours(name: str = name, rows: int = rows, right: dict[str, float] = right) -> None:
            head = fitted(name, copy(train, rows), copy(val), **PARAMS.get(name, {}))
            right["ours"] = accuracy(head.predict_proba(test.X[:1000]), test.y[:1000])

        def script(
            plain: Callable[[], Any] = plain, rows: int = rows, right: dict[str, float] = right
        ) -> None:
            model = plain().fit(train.X[:rows], train.y[:rows])
            right["plain"] = float((model.predict(test.X[:1000]) == test.y[:1000]).mean())

        show(f"{name}, {rows:,} rows", alternate({"plain": script, name: ours}, 1), "plain", rows)
        print(f"  test accuracy: {right['plain']:.3f} plain, {right['ours']:.3f} ours")


def memory(name: str) -> None:
    """Print a head's peak of memory, features included, as a multiple of the features."""
    fitted(name, synthetic(1000, 1), synthetic(1000, 2), epochs=1) if name != "logistic" else None
    before = resident()
    train, val = synthetic(ROWS, 1), synthetic(ROWS // 10, 2)
    fitted(name, train, val, **({"epochs": 1} if name != "logistic" else {}))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(f"  {name}: {(peak - before) / train.X.nbytes:.2f} × the float32 matrix")


def resident() -> int:
    """Bytes this process has in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    """Run them all."""
    print(f"\nPeak of memory, {ROWS:,} × {WIDTH:,}", flush=True)
    for name in ("logistic", "softmax", "dense", "sgd"):
        subprocess.run([sys.executable, "-m", "benchmarks.heads", "memory", name], check=True)
    train, val, test = synthetic(ROWS, 1), synthetic(ROWS // 10, 2), synthetic(ROWS // 10, 3)
    logistic(train, val, test)
    dense(train, val)
    others(train, val, test)


if __name__ == "__main__":
    memory(sys.argv[2]) if sys.argv[1:2] == ["memory"] else main()
