"""The head that fine-tuning starts from, as Keras layers."""

import logging
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from bottleneck.bases.backend import load_keras
from bottleneck.cache.features import Located
from bottleneck.finetuning.settings import Settings
from bottleneck.heads.contract import Head, LoadedHead
from bottleneck.heads.data import LabelledFeatures, read_samples
from bottleneck.heads.registry import complete_params, find_head
from bottleneck.heads.split import Split
from bottleneck.runs.run import Run

_log = logging.getLogger("bottleneck")

# Fitted in place of a head that has no Keras layers.
REPLACEMENT = "softmax"


class StartHead(NamedTuple):
    """A head and its layers.

    Attributes
    ----------
    head : Head
    kind : str
        Its name in `bottleneck.heads.registry`.
    layers : keras.Sequential
        From features to logits.
    """

    head: Head
    kind: str
    layers: Any


def load_start_head(
    folder: Path, run: Run, features: Located, split: Split, settings: Settings
) -> StartHead:
    """Load a run's head as layers; fit a dense layer instead of a head that has none.

    Parameters
    ----------
    folder : Path
        The run's folder.
    run : Run
    features : Located
        The features to fit a replacement on.
    split : Split
    settings : Settings
    """
    # imported here: it loads scikit-learn, which --help does not need
    from bottleneck.heads.layers import as_layers

    head, kind = find_head(run.head).load(folder, len(run.classes)), run.head
    layers = as_layers(head, features.shape)
    if layers is None:
        _log.warning(
            "Head %s cannot be part of a network (linear and Keras heads can). Fine-tuning starts from a new dense "
            "layer (%s), fitted on the same features.",
            *(run.head, REPLACEMENT),
        )
        head, kind = _fit_replacement(run, features, split), REPLACEMENT
        layers = as_layers(head, features.shape)
    if settings.dropout is not None:
        layers = _replace_dropout(layers, settings)
    return StartHead(head, kind, layers)


def _fit_replacement(run: Run, features: Located, split: Split) -> LoadedHead:
    kind = find_head(REPLACEMENT)
    with (
        tempfile.TemporaryDirectory(prefix="bottleneck-") as folder,
        read_samples(kind, LabelledFeatures((features,), split), None, Path(folder)) as (
            train,
            val,
        ),
    ):
        return kind.fit(train, val, len(run.classes), run.seed, complete_params(kind, {}))


def _replace_dropout(layers: Any, settings: Settings) -> Any:
    """Replace the head's dropout layers by one before the last layer."""
    keras = load_keras()
    *others, last = [
        layer for layer in layers.layers if not isinstance(layer, keras.layers.Dropout)
    ]
    dropout = keras.layers.Dropout(settings.dropout, seed=settings.seed)
    return keras.Sequential(
        [keras.Input(layers.input_shape[1:]), *others, dropout, last], name=layers.name
    )
