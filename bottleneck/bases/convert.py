"""Convert public weights of other libraries to Keras weights."""

import os
from pathlib import Path

from bottleneck.bases.inception_v4 import InceptionV4
from bottleneck.bases.timm import fill_inception_v4, read_safetensors
from bottleneck.bases.weights import tensor_digest
from bottleneck.errors import BottleneckError

# The smallest size: the weights do not depend on it, and a small model is built faster.
_SHAPE = (75, 75, 3)


def convert(base: str, source: str | os.PathLike[str], out: str | os.PathLike[str]) -> str:
    """Convert public weights to Keras weights, without the classifier.

    Parameters
    ----------
    base : {"inception_v4"}
    source : path
        A ``.safetensors`` file with timm's tensor names.
    out : path
        The ``.weights.h5`` file to write, for ``--weights``.

    Returns
    -------
    str
        SHA-256 digest of the tensors, as in recipes.

    Raises
    ------
    BottleneckError
        `source` is missing or does not hold the weights of `base` (the message names the first tensor that
        differs), or `out` cannot be written.
    """
    if base != "inception_v4":
        raise BottleneckError(
            f"nothing to convert for {base!r}; public weights are converted for: inception_v4"
        )
    if not str(out).endswith(".weights.h5"):
        raise BottleneckError(f"weights are written to a file ending in .weights.h5, not to {out}")
    tensors = read_safetensors(Path(source))
    model = InceptionV4(include_top=False, input_shape=_SHAPE)
    fill_inception_v4(model, tensors, Path(source))
    try:
        model.save_weights(out)
    except OSError as error:
        raise BottleneckError(f"cannot write {out}: {error}") from error
    return tensor_digest(model)
