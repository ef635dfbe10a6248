"""Options that commands take, by the headings of the help pages."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer

from bottleneck.bases.base import PreprocessingName
from bottleneck.bases.network import Pool
from bottleneck.cache.recipe import Dtype, Precision
from bottleneck.cli.terminal import set_debug
from bottleneck.extraction.engines.protocol import EngineName
from bottleneck.extraction.spec import FeatureSpec
from bottleneck.images.decode import Fit
from bottleneck.images.layout import SplitFolders

_feature = partial(typer.Option, rich_help_panel="What determines a feature")
_layout = partial(typer.Option, rich_help_panel="For a folder or an archive")
_csv = partial(typer.Option, rich_help_panel="For a CSV")
_running = partial(typer.Option, rich_help_panel="How it runs")

Images = Annotated[
    str,
    typer.Argument(
        metavar="IMAGES",
        help="A folder of class folders, one with train/ val/ test/ above them, a flat folder, "
        "a CSV, one image, or files that hold many (.zip, .tar, .parquet, .npz, .h5, CIFAR-10's batches); or a URL "
        "such as s3://bucket/folder.",
    ),
]
Cache = Annotated[str, typer.Argument(metavar="CACHE", help="The cache's folder or URL.")]
RecipeId = Annotated[
    str | None,
    typer.Option(
        "--recipe", help="Id of a recipe, or a part of it such as its tap, where there are several."
    ),
]
WeightsNow = Annotated[
    str | None,
    typer.Option(
        "--weights", help="Where the base's weights are now.", show_default="where they were before"
    ),
]
Memory = Annotated[
    int | None,
    typer.Option(min=0, help="Memory for features, in MB.", show_default="half of what is free"),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Debug = Annotated[
    bool, typer.Option("--debug", callback=set_debug, is_eager=True, help="Show tracebacks.")
]

Base = Annotated[
    str, _feature(help="The network to run: a name (see: bottleneck bases list) or a .keras file.")
]
Preprocessing = Annotated[
    PreprocessingName | None,
    _feature(
        "--preprocessing", help="For a .keras file as base: the pixel range its network expects."
    ),
]
Weights = Annotated[
    str | None,
    _feature(
        help="imagenet, random, or a .weights.h5, .h5 or .keras file.",
        show_default="imagenet, or the base's own",
    ),
]
Taps = Annotated[
    list[str] | None,
    _feature("--tap", help="A layer to keep; may be repeated.", show_default="the last"),
]
DropBlocks = Annotated[
    int, _feature(min=0, help="In place of a tap: number of blocks to leave out at the top.")
]
PoolName = Annotated[Pool, _feature("--pool", help="How the tap's map becomes a vector.")]
ImageSize = Annotated[
    int | None,
    _feature(help="Side of the square shown to the base.", show_default="the base's own"),
]
ResizeName = Annotated[
    Fit,
    _feature("--resize", "--fit", help="Scale both sides, or keep proportions and the centre."),
]
PrecisionName = Annotated[Precision, _feature("--precision", help="What the base computes in.")]
DtypeName = Annotated[
    Dtype | None,
    _feature("--dtype", help="What features are stored in.", show_default="float32; maps: float16"),
]
Views = Annotated[int, _feature(min=0, help="Augmented views of each image besides the plain one.")]
Augment = Annotated[
    str,
    _feature(
        help="How views are made: flip,rotate=DEGREES,shift=SHARE,zoom=SHARE,brightness=SHARE."
    ),
]
WeightsSeed = Annotated[int, _feature("--seed", min=0, help="For random weights.")]

Splits = Annotated[
    SplitFolders,
    _layout(
        "--splits",
        help="Whether folders such as train and test are splits: auto, folders (others are in no split), none.",
    ),
]
ClassesAt = Annotated[
    int | None,
    _layout(
        "--classes-at",
        metavar="DEPTH",
        help="Depth of the class folders: 1 is directly in IMAGES, -1 is around each image.",
        show_default="recognised",
    ),
]
LabelPattern = Annotated[
    str | None,
    _layout(
        "--label-pattern",
        metavar="REGEX",
        help="Take labels from paths: the first group of this regular expression.",
    ),
]

# An option for each field of FeatureSpec, in the order of the help page; the defaults are those of the fields.
_SPEC: dict[str, Any] = {
    "base": Base,
    "preprocessing": Preprocessing,
    "weights": Weights,
    "tap": Taps,
    "drop_blocks": DropBlocks,
    "pool": PoolName,
    "image_size": ImageSize,
    "resize": ResizeName,
    "precision": PrecisionName,
    "dtype": DtypeName,
    "views": Views,
    "augment": Augment,
    "seed": WeightsSeed,
}


def takes_spec(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a `FeatureSpec` in place of its parameter `spec`."""
    defaults = {field.name: field.default for field in dataclasses.fields(FeatureSpec)}
    signature = inspect.signature(command, eval_str=True)
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        own = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if parameter.name != "spec":
            parameters.append(own)
            continue
        parameters += [
            own.replace(name=name, annotation=annotation, default=defaults[name])
            for name, annotation in _SPEC.items()
        ]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        spec = FeatureSpec(**{name: given.pop(name) for name in _SPEC})
        command(**given, spec=spec)

    # typer reads one or the other, depending on its version
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_options


Root = Annotated[
    str | None, _csv(help="The folder its paths are relative to.", show_default="the CSV's folder")
]
PathColumn = Annotated[str, _csv(help="The column of paths.")]
LabelColumn = Annotated[
    str | None, _csv(help="The column of labels.", show_default="label, if there")
]
SplitColumn = Annotated[
    str | None, _csv(help="The column of splits.", show_default="split, if there")
]
SkipMissing = Annotated[bool, _csv("--skip-missing", help="Skip files that do not exist.")]

RetryFailed = Annotated[
    bool, _running("--retry-failed", help="Try images again that failed before.")
]
MaxPixels = Annotated[
    int, _running(min=1, help="Refuse images with more pixels (decompression bombs).")
]
BatchSize = Annotated[
    int | None,
    _running(min=1, help="Images per batch.", show_default="16; on a GPU as many as fit"),
]
Workers = Annotated[
    int | None,
    _running(min=1, help="Images decoded at the same time.", show_default="as many as cores"),
]
Engine = Annotated[
    EngineName,
    _running("--engine", help="What runs the base; auto: OpenVINO on a CPU, if installed."),
]
SealSeconds = Annotated[
    float, _running(min=0.0, help="Write computed features at least this often, in seconds.")
]
Cluster = Annotated[
    str | None,
    _running(
        "--cluster",
        metavar="dask://HOST:PORT|local:N",
        help="Run on the workers of a Dask scheduler, or in N processes here.",
        show_default="in this process",
    ),
]
