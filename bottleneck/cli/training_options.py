"""Options of `bottleneck finetune`, by the headings of its help page."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bottleneck.bases.network import Precision as ComputePrecision
from bottleneck.finetuning.settings import Decay as DecayKind
from bottleneck.finetuning.stages import AUTO

_stages = partial(typer.Option, rich_help_panel="What is trained")
_inputs = partial(typer.Option, rich_help_panel="Live or from the cache")
_training = partial(typer.Option, rich_help_panel="How it is trained")
_running = partial(typer.Option, rich_help_panel="How it runs")

Stages = Annotated[
    str | None,
    _stages(
        help="Comma-separated TAP:EPOCHS@RATE: train all layers above this tap. Instead of a tap: a number of layers "
        "at the top, or head. auto unfreezes block by block, each time at a tenth of the learning rate.",
        show_default=AUTO,
    ),
]
UnfreezeLast = Annotated[
    int | None, _stages(min=0, help="Instead of stages: train this many layers at the top.")
]
Epochs = Annotated[int | None, _stages(min=1, help="For --unfreeze-last.", show_default="3")]
LearningRate = Annotated[float | None, _stages(help="For --unfreeze-last.", show_default="1e-4")]
Config = Annotated[
    Path | None,
    _stages(help="A YAML file of options; options on the command line override it."),
]
FindRate = Annotated[
    bool,
    _stages("--find-lr", help="Only try learning rates for the first stage, and plot the loss."),
]

FromCache = Annotated[
    bool, _inputs("--from-cache", help="Train on activations at the deepest cut, cached once.")
]
Live = Annotated[bool, _inputs("--live", help="Train on images, decoded in each epoch.")]
Augment = Annotated[
    str | None,
    _inputs(
        help="Train on augmented views: flip,rotate=DEGREES,shift=SHARE,zoom=SHARE,brightness=SHARE.",
        show_default="none",
    ),
]
Views = Annotated[
    int | None,
    _inputs(
        min=0,
        help="Number of views, one per epoch in turn; 0: a new view in each epoch.",
        show_default="0",
    ),
]

BatchSize = Annotated[int | None, _training(min=1, help="Images per step.", show_default="32")]
LayerDecay = Annotated[
    float | None,
    _training(
        help="Learning-rate factor from one layer of the base to the layer below.",
        show_default="0.9",
    ),
]
WarmUp = Annotated[
    float | None,
    _training(help="Share of a stage in which the learning rate rises.", show_default="0.3"),
]
Decay = Annotated[
    DecayKind | None,
    _training(help="How the learning rate falls after the warm-up.", show_default="cosine"),
]
WeightDecay = Annotated[
    float | None, _training(help="Decoupled weight decay of the kernels.", show_default="0")
]
LabelSmoothing = Annotated[
    float | None,
    _training(help="Share of each label spread over all classes.", show_default="0"),
]
Dropout = Annotated[
    float | None,
    _training(help="Dropout rate before the head's last layer.", show_default="the head's own"),
]
ClipNorm = Annotated[float | None, _training(help="Maximum gradient norm.")]
ClassWeight = Annotated[
    str | None, _training(help="balanced: weight classes inversely to their frequency.")
]
Precision = Annotated[
    ComputePrecision | None,
    _training(help="Precision of the base's computation.", show_default="float32"),
]
Patience = Annotated[
    int | None,
    _training(
        min=1, help="Early stopping: end a stage after this many epochs without improvement."
    ),
]
TrainBatchnorm = Annotated[
    bool,
    _training(
        "--train-batchnorm",
        help="Let batch normalisation above the cut learn new statistics.",
    ),
]
Seed = Annotated[
    int | None,
    _training(min=0, help="Random seed for the order of images and for dropout.", show_default="0"),
]

Out = Annotated[
    str | None,
    _running(
        help="The run's folder or URL, which must not exist.", show_default="runs/RUN-finetuned"
    ),
]
CacheNow = Annotated[
    str | None,
    _running("--cache", help="Where the run's cache is now.", show_default="where it was"),
]
Devices = Annotated[
    int | None, _running(min=1, help="Number of GPUs that share each batch.", show_default="all")
]
TensorBoard = Annotated[
    Path | None, _running("--tensorboard", help="A folder for TensorBoard logs.")
]
