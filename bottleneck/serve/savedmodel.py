"""TensorFlow's SavedModel: pixels or files of pictures in, probabilities and names out."""

import os
from pathlib import Path
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.images.decode import Fit
from bottleneck.serve.graph import PIXELS, PROBABILITIES, Classifier

# The signature that takes pictures as files, beside the one that serves by default and takes pixels.
ENCODED = "encoded"

# What JPEG decoders offer beside full size, as shares of it, and Pillow takes where it suffices.
_REDUCED = (8, 4, 2)


def write_savedmodel(classifier: Classifier, folder: Path) -> None:
    """Write a graph as a SavedModel with two signatures.

    ``serving_default`` takes ``pixels``, ``encoded`` takes ``image_bytes``: JPEG, PNG, GIF or BMP files.
    Both give ``probabilities`` and ``classes``, their names, again for each picture.

    Parameters
    ----------
    classifier : Classifier
    folder : Path
        To write into.
    """
    import tensorflow as tf

    model, size, fit = classifier.model, classifier.model.input_shape[1], classifier.fit
    # names of folders need not be valid UTF-8
    names = tf.constant([os.fsencode(name) for name in classifier.classes])

    def of_pixels(pixels: Any) -> dict[str, Any]:
        probabilities = model(pixels, training=False)
        # once for each picture: TensorFlow Serving wants as many rows of every output
        return {
            PROBABILITIES: probabilities,
            "classes": tf.broadcast_to(names, tf.shape(probabilities)),
        }

    def of_files(image_bytes: Any) -> dict[str, Any]:
        square = tf.TensorSpec((size, size, 3), tf.uint8)
        return of_pixels(
            tf.map_fn(
                lambda data: decode_in_graph(data, size, fit),
                image_bytes,
                fn_output_signature=square,
            )
        )

    archive = load_keras().export.ExportArchive()
    archive.track(model)
    pixels = tf.TensorSpec((None, size, size, 3), tf.uint8, name=PIXELS)
    archive.add_endpoint("serving_default", of_pixels, input_signature=[pixels])
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    archive.add_endpoint(ENCODED, of_files, input_signature=[files])
    archive.write_out(str(folder), verbose=False)


def decode_in_graph(data: Any, size: int, fit: Fit) -> Any:
    """Do in a graph what `bottleneck.images.decode.decode` does, as far as TensorFlow can.

    Pillow reduces large JPEGs while they are decoded, and rounds to whole numbers between its passes
    along rows and columns. With both done here, few values differ, by one as a rule. An EXIF
    orientation is not applied, and transparency is not laid over white.

    Parameters
    ----------
    data : tensorflow.Tensor of string, scalar
        A JPEG, PNG, GIF or BMP file.
    size : int
        Side of the square, in pixels.
    fit : {"squash", "crop"}

    Returns
    -------
    tensorflow.Tensor of uint8, shape (size, size, 3)
    """
    import tensorflow as tf

    picture = tf.cond(
        tf.io.is_jpeg(data),
        lambda: _decode_jpeg(data, size),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )
    picture.set_shape((None, None, 3))
    shape = tf.shape(picture)[:2]
    sides = tf.cast(shape, tf.float32)
    kept = tf.repeat(tf.reduce_min(sides), 2) if fit == "crop" else sides
    scale = size / kept
    shift = (kept - sides) / 2 * scale
    square = tf.cast(picture[None], tf.float32)
    for along, reached in (([0.0, 1.0], [shape[0], size]), ([1.0, 0.0], [size, size])):
        square = tf.raw_ops.ScaleAndTranslate(
            images=square,
            size=tf.stack(reached),
            scale=scale ** tf.constant(along),
            translation=shift * tf.constant(along),
            kernel_type="triangle",
            antialias=True,
        )
        square = tf.floor(square + 0.5)
    return tf.saturate_cast(square[0], tf.uint8)


def _decode_jpeg(data: Any, size: int) -> Any:
    import tensorflow as tf

    def at(ratio: int) -> Any:
        # by the exact of libjpeg's two ways, as Pillow does
        return lambda: tf.io.decode_jpeg(
            data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
        )

    times = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]) // size
    return tf.case([(times >= ratio, at(ratio)) for ratio in _REDUCED], default=at(1))
