"""Public weights of other libraries, written as Keras weights."""

import os
from pathlib import Path

from bottleneck.bases.inception_v4 import InceptionV4
from bottleneck.bases.timm import fill_inception_v4, read_safetensors
from bottleneck.bases.weights import tensor_digest
from bottleneck.errors import BottleneckError

# The least size: that of the map does not matter to the weights, and small is quick.
_SHAPE = (75, 75, 3)


def convert(base: str, source: str | os.PathLike[str], out: str | os.PathLike[str]) -> str:
    """Write public weights as Keras weights, without the classifier.

    Parameters
    ----------
    base : {"inception_v4"}
    source : path
        A ``.safetensors`` file with timm's names.
    out : path
        A ``.weights.h5`` file, to be given to ``--weights``.

    Returns
    -------
    str
        SHA-256 of the tensors, as recipes have it.

    Raises
    ------
    BottleneckError
        There is no such file, it does not hold the weights of `base` (the first tensor that differs
        is named), or `out` cannot be written.
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
