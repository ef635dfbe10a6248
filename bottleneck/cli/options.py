"""Options that commands take, by the headings of the help pages."""

from functools import partial
from typing import Annotated

import typer

from bottleneck.bases.base import PreprocessingName
from bottleneck.bases.network import Pool
from bottleneck.cache.recipe import Dtype, Precision
from bottleneck.cli.terminal import set_debug
from bottleneck.extraction.engines.protocol import EngineName
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
        "a CSV, one picture, or files that hold many (.zip, .tar, .parquet, .npz, .h5, CIFAR-10's batches); or a URL "
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
        "--weights", help="Where the base's weights are now.", show_default="where they were"
    ),
]
Memory = Annotated[
    int | None,
    typer.Option(
        min=0, help="MB that features may take in memory.", show_default="half of what is free"
    ),
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
    _feature("--preprocessing", help="For a .keras file as base: what it expects of pixels."),
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
    int, _feature(min=0, help="In place of a tap: leave out so many blocks at the top.")
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

Root = Annotated[
    str | None, _csv(help="The folder its paths start from.", show_default="where it lies")
]
PathColumn = Annotated[str, _csv(help="The column of paths.")]
LabelColumn = Annotated[
    str | None, _csv(help="The column of labels.", show_default="label, if there")
]
SplitColumn = Annotated[
    str | None, _csv(help="The column of splits.", show_default="split, if there")
]
SkipMissing = Annotated[bool, _csv("--skip-missing", help="Go on where files do not exist.")]

RetryFailed = Annotated[
    bool, _running("--retry-failed", help="Try images again that failed before.")
]
MaxPixels = Annotated[
    int, _running(min=1, help="Refuse pictures with more pixels (decompression bombs).")
]
BatchSize = Annotated[
    int | None,
    _running(
        min=1, help="Images the base is given at once.", show_default="16; on a GPU what fits"
    ),
]
Workers = Annotated[
    int | None,
    _running(min=1, help="Pictures decoded at the same time.", show_default="as many as cores"),
]
Engine = Annotated[
    EngineName,
    _running("--engine", help="What runs the base; auto: OpenVINO on a CPU, if installed."),
]
SealSeconds = Annotated[float, _running(min=0.0, help="Seal what is computed at least this often.")]
Cluster = Annotated[
    str | None,
    _running(
        "--cluster",
        metavar="dask://HOST:PORT|local:N",
        help="Run on the workers of a Dask scheduler, or in N processes here.",
        show_default="in this process",
    ),
]
