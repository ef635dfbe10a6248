"""Int8 quantisation of a base: done once for a cache, which keeps the graph."""

import contextlib
import dataclasses
import io
import itertools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bottleneck.bases.network import Network, build_network
from bottleneck.bases.weights import find_weights
from bottleneck.cache.atomic import write_atomically
from bottleneck.cache.listing import Listing
from bottleneck.cache.quantised import (
    Origin,
    quantised_for,
    read_checked,
    read_quantised,
    write_quantised,
)
from bottleneck.cache.recipe import QUANTISED
from bottleneck.cache.rows import Row, Rows
from bottleneck.errors import BottleneckError
from bottleneck.extraction.conveyor import Settings
from bottleneck.extraction.engines.openvino_engine import (
    check_precision,
    convert,
    load_nncf,
    load_openvino,
)
from bottleneck.extraction.engines.start import check_engine_for_int8
from bottleneck.extraction.progress import Progress
from bottleneck.extraction.request import FeatureRequest
from bottleneck.images.decode import UnreadableImageError, decode, pixel_limit
from bottleneck.images.place import open_place

_log = logging.getLogger("bottleneck")

# Images whose activations tell the range of each layer. NNCF takes 300 by default; of InceptionV3 features
# with 112 were as close to float32 as they need be, in half a minute.
CALIBRATED_ON = 128

# A file's name has room for so much of the name of the weights besides all else.
_NAME = 60


def with_quantised(
    cache: Path, listing: Listing, wanted: FeatureRequest, settings: Settings, progress: Progress
) -> FeatureRequest:
    """Replace float32 weights by their quantised graph in a cache, which is made if it does not exist.

    The caller holds the writer's lock. If the process is killed, the cache has a complete graph or none.

    Parameters
    ----------
    cache : Path
    listing : Listing
        Images to calibrate on.
    wanted : FeatureRequest
        Of precision int8. If its weights are a graph already, it is copied into the cache.
    settings : Settings
    progress : Progress

    Raises
    ------
    BottleneckError
        The engine is Keras, the processor or the installation does not support int8, no image can be used, or a
        graph is damaged.
    """
    check_engine_for_int8(settings.engine)
    check_precision("int8")
    if wanted.quantised:
        wanted.read_graph()  # raises if it is a graph of another base or tap
        given = Path(wanted.weights.name)
        own = cache.absolute() / QUANTISED / given.name
        if not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(own, read_checked(given))
        return _replace_weights(wanted, own)
    (tap,) = wanted.taps
    asked = (wanted.base.name, tap, wanted.pool, wanted.image_size)
    known = {path: read_quantised(path).origin for path in quantised_for(cache, *asked)}
    for path, origin in known.items():
        if origin.fingerprint == wanted.weights.fingerprint:
            return _replace_weights(wanted, path)
    step = f"loading {wanted.base.name}"
    progress(step, 0, 0)
    network = build_network(
        wanted.base, wanted.weights, wanted.taps, wanted.pool, wanted.image_size
    )
    progress(step, 1, 1)
    for path, origin in known.items():
        if origin.weights_digest == network.weights_digest:
            return _replace_weights(wanted, path)
    images = calibration_images(listing, wanted, settings)
    graph, weights = quantise(network, images, progress)
    path = write_quantised(
        cache,
        Path(wanted.weights.name).name[:_NAME],
        Origin(*asked, wanted.weights.fingerprint, network.weights_digest),
        network.feature_shapes[0],
        graph,
        weights,
    )
    _log.info("Quantised %s, calibrated on %d images: %s", wanted.base.name, len(images), path)
    return _replace_weights(wanted, path)


def _replace_weights(wanted: FeatureRequest, path: Path) -> FeatureRequest:
    return dataclasses.replace(wanted, weights=find_weights(path))


def calibration_images(
    listing: Listing, wanted: FeatureRequest, settings: Settings
) -> list[NDArray[np.uint8]]:
    """Decode images spread over a listing, from its training split if there is one.

    Raises
    ------
    BottleneckError
        No image can be used.
    """
    usable = listing.not_failed
    # test images must not influence what is tested
    train = usable.where("split", "train")
    rows = train if len(train) else usable
    place, images = open_place(listing.root), []
    with pixel_limit():
        for row in _spread(rows):
            with contextlib.suppress(UnreadableImageError):
                data = place.read(row.path)
                images.append(decode(data, wanted.image_size, wanted.resize, settings.max_pixels))
            if len(images) == CALIBRATED_ON:
                break
    if not images:
        raise BottleneckError(
            f"none of the {len(rows)} images in {listing.root} can be used, and --precision int8 is calibrated on "
            "some; give it images, or leave --precision out"
        )
    return images


def _spread(rows: Rows) -> Iterator[Row]:
    """Yield rows in strides, so that the first ones are spread over all."""
    stride = -(-len(rows) // CALIBRATED_ON)
    places = (range(start, len(rows), stride) for start in range(stride))
    return (rows[place] for place in itertools.chain.from_iterable(places))


def quantise(
    network: Network, images: list[NDArray[np.uint8]], progress: Progress
) -> tuple[bytes, bytes]:
    """Quantise weights and activations of a network to int8.

    Post-training quantisation as NNCF does it: the range of each layer's activations is that of the
    images, and the bias that rounding brings is corrected (Jacob et al. 2018, Quantization and Training
    of Neural Networks for Efficient Integer-Arithmetic-Only Inference; Nagel et al. 2019, Data-Free
    Quantization Through Weight Equalization and Bias Correction).

    Parameters
    ----------
    network : Network
        In float32, of one tap.
    images : list of ndarray of uint8, each of shape (size, size, 3)
    progress : Progress

    Returns
    -------
    tuple of bytes
        OpenVINO's description of the graph, in XML, and its weights.

    Raises
    ------
    BottleneckError
        The network cannot be converted or quantised.
    """
    openvino = load_openvino()
    model = convert(network)
    model.reshape([1, *network.model.input_shape[1:]])
    nncf = load_nncf()
    # nncf.set_log_level would change the levels of handlers that others have added to its logger, too
    logging.getLogger("nncf").setLevel(logging.ERROR)
    numbers = itertools.count()

    def show(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        progress("calibrating", min(next(numbers), len(images)), len(images))
        return image[None]

    try:
        # NNCF prints its progress to stdout, which is for results
        with contextlib.redirect_stdout(io.StringIO()):
            made = nncf.quantize(model, nncf.Dataset(images, show), subset_size=len(images))
    except Exception as error:  # NNCF raises exceptions of many types
        raise BottleneckError(
            f"NNCF cannot quantise this base ({' '.join(str(error).split())}); leave --precision out"
        ) from error
    progress("calibrating", len(images), len(images))
    # Names are numbers that go on through the life of the process; without them the same is the same file.
    for number, operation in enumerate(made.get_ordered_ops()):
        operation.set_friendly_name(f"{operation.get_type_name()}_{number}")
        for output in operation.outputs():
            output.get_tensor().set_names(set())
        if "fused_names_0" in (remarks := operation.get_rt_info()):
            del remarks["fused_names_0"]
    with tempfile.TemporaryDirectory(prefix="bottleneck-") as name:
        graph, weights = Path(name) / "graph.xml", Path(name) / "graph.bin"
        openvino.serialize(made, graph, weights)
        return graph.read_bytes(), weights.read_bytes()
