"""TensorFlow's SavedModel: from pixels or image files to probabilities and class names."""

import os
from pathlib import Path
from typing import Any

from bottleneck.bases.backend import load_keras
from bottleneck.images.decode import Fit
from bottleneck.serve.graph import PIXELS, PROBABILITIES, Classifier

# Name of the signature that takes image files; the default signature takes pixels.
ENCODED = "encoded"

# JPEG decoders can reduce an image by these factors while decoding; Pillow uses the largest that suffices.
_REDUCED = (8, 4, 2)


def write_savedmodel(classifier: Classifier, folder: Path) -> None:
    """Write a graph as a SavedModel with two signatures.

    ``serving_default`` takes ``pixels``, ``encoded`` takes ``image_bytes``: JPEG, PNG, GIF or BMP files.
    Both return ``probabilities`` and ``classes``, the class names repeated for each image.

    Parameters
    ----------
    classifier : Classifier
    folder : Path
        Folder to write into.
    """
    import tensorflow as tf

    model, size, fit = classifier.model, classifier.model.input_shape[1], classifier.fit
    # names of folders may be invalid UTF-8
    names = tf.constant([os.fsencode(name) for name in classifier.classes])

    def of_pixels(pixels: Any) -> dict[str, Any]:
        probabilities = model(pixels, training=False)
        # repeated for each image: TensorFlow Serving requires the same number of rows in every output
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
    """Decode and resize an image in a graph, like `bottleneck.images.decode.decode` as far as TensorFlow can.

    As in Pillow, large JPEGs are reduced while decoding, and values are rounded to integers between the passes
    along rows and columns. Few values differ, usually by one. EXIF orientation is not applied, and
    transparent images are not laid over white.

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

    image = tf.cond(
        tf.io.is_jpeg(data),
        lambda: _decode_jpeg(data, size),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )
    image.set_shape((None, None, 3))
    shape = tf.shape(image)[:2]
    sides = tf.cast(shape, tf.float32)
    kept = tf.repeat(tf.reduce_min(sides), 2) if fit == "crop" else sides
    scale = size / kept
    shift = (kept - sides) / 2 * scale
    square = tf.cast(image[None], tf.float32)
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
        # libjpeg's exact method, as in Pillow
        return lambda: tf.io.decode_jpeg(
            data, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
        )

    times = tf.reduce_min(tf.io.extract_jpeg_shape(data)[:2]) // size
    return tf.case([(times >= ratio, at(ratio)) for ratio in _REDUCED], default=at(1))
