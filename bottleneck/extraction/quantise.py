"""A base in whole numbers of eight bits: made once for a cache, and found there again."""

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

# Pictures whose activations tell the range of each layer. NNCF takes 300 by default; of InceptionV3 features
# with 112 were as close to float32 as they need be, in half a minute.
CALIBRATED_ON = 128

# A file's name has room for so much of the name of the weights besides all else.
_NAME = 60


def with_quantised(
    cache: Path, listing: Listing, wanted: FeatureRequest, settings: Settings, progress: Progress
) -> FeatureRequest:
    """Put in place of float32 weights the graph that a cache has of them; where it has none, make it.

    Only for who holds the writer's lock. Killed at any instant, it leaves a whole graph or none.

    Parameters
    ----------
    cache : Path
    listing : Listing
        Pictures to calibrate on.
    wanted : FeatureRequest
        Of precision int8. Where its weights are a graph already, the cache gets a copy of it.
    settings : Settings
    progress : Progress

    Raises
    ------
    BottleneckError
        Keras is to run it, the processor or a package lacks, no picture can be used, or a graph is damaged.
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
        return _instead(wanted, own)
    (tap,) = wanted.taps
    asked = (wanted.base.name, tap, wanted.pool, wanted.image_size)
    known = {path: read_quantised(path).origin for path in quantised_for(cache, *asked)}
    for path, origin in known.items():
        if origin.fingerprint == wanted.weights.fingerprint:
            return _instead(wanted, path)
    step = f"loading {wanted.base.name}"
    progress(step, 0, 0)
    network = build_network(
        wanted.base, wanted.weights, wanted.taps, wanted.pool, wanted.image_size
    )
    progress(step, 1, 1)
    for path, origin in known.items():
        if origin.weights_digest == network.weights_digest:
            return _instead(wanted, path)
    pictures = calibration_pictures(listing, wanted, settings)
    graph, weights = quantise(network, pictures, progress)
    path = write_quantised(
        cache,
        Path(wanted.weights.name).name[:_NAME],
        Origin(*asked, wanted.weights.fingerprint, network.weights_digest),
        network.feature_shapes[0],
        graph,
        weights,
    )
    _log.info("Quantised %s, calibrated on %d pictures: %s", wanted.base.name, len(pictures), path)
    return _instead(wanted, path)


def _instead(wanted: FeatureRequest, path: Path) -> FeatureRequest:
    return dataclasses.replace(wanted, weights=find_weights(path))


def calibration_pictures(
    listing: Listing, wanted: FeatureRequest, settings: Settings
) -> list[NDArray[np.uint8]]:
    """Decode pictures spread over a listing: of those to train on, where it says which these are.

    Raises
    ------
    BottleneckError
        None can be used.
    """
    usable = listing.not_failed
    # what is tested on has no part in making what is tested
    train = usable.where("split", "train")
    rows = train if len(train) else usable
    place, pictures = open_place(listing.root), []
    with pixel_limit():
        for row in _spread(rows):
            with contextlib.suppress(UnreadableImageError):
                data = place.read(row.path)
                pictures.append(decode(data, wanted.image_size, wanted.resize, settings.max_pixels))
            if len(pictures) == CALIBRATED_ON:
                break
    if not pictures:
        raise BottleneckError(
            f"none of the {len(rows)} pictures in {listing.root} can be used, and --precision int8 is calibrated on "
            "some; give it pictures, or leave --precision out"
        )
    return pictures


def _spread(rows: Rows) -> Iterator[Row]:
    """Go through rows in strides, so that the first of them are from everywhere."""
    stride = -(-len(rows) // CALIBRATED_ON)
    places = (range(start, len(rows), stride) for start in range(stride))
    return (rows[place] for place in itertools.chain.from_iterable(places))


def quantise(
    network: Network, pictures: list[NDArray[np.uint8]], progress: Progress
) -> tuple[bytes, bytes]:
    """Bring weights and activations of a network to eight bits.

    Post-training quantisation as NNCF does it: the range of each layer's activations is that of the
    pictures, and the bias that rounding brings is corrected (Jacob et al. 2018, Quantization and Training
    of Neural Networks for Efficient Integer-Arithmetic-Only Inference; Nagel et al. 2019, Data-Free
    Quantization Through Weight Equalization and Bias Correction).

    Parameters
    ----------
    network : Network
        In float32, of one tap.
    pictures : list of ndarray of uint8, each of shape (size, size, 3)
    progress : Progress

    Returns
    -------
    tuple of bytes
        OpenVINO's description of the graph, in XML, and its weights.

    Raises
    ------
    BottleneckError
        It cannot be converted, or not be quantised.
    """
    openvino = load_openvino()
    model = convert(network)
    model.reshape([1, *network.model.input_shape[1:]])
    nncf = load_nncf()
    # nncf.set_log_level would change the levels of handlers that others have added to its logger, too
    logging.getLogger("nncf").setLevel(logging.ERROR)
    numbers = itertools.count()

    def show(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        progress("calibrating", min(next(numbers), len(pictures)), len(pictures))
        return picture[None]

    try:
        # its own progress goes to stdout, which is for results
        with contextlib.redirect_stdout(io.StringIO()):
            made = nncf.quantize(model, nncf.Dataset(pictures, show), subset_size=len(pictures))
    except Exception as error:  # it raises what its parts raise
        raise BottleneckError(
            f"NNCF cannot quantise this base ({' '.join(str(error).split())}); leave --precision out"
        ) from error
    progress("calibrating", len(pictures), len(pictures))
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
