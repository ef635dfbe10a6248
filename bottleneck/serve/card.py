"""Model card of an export: model, inputs, classes, metrics, origin."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bottleneck.bases.backbone import is_backbone
from bottleneck.bases.base import PREPROCESSING, Preprocessing
from bottleneck.bases.registry import find_base
from bottleneck.cache.recipe import Recipe
from bottleneck.runs.run import TUNED, Run
from bottleneck.serve.formats import CLASSES_FILE, Format
from bottleneck.serve.graph import PIXELS, PROBABILITIES


@dataclass(frozen=True)
class Check:
    """Comparison of an exported file with its run.

    Attributes
    ----------
    pictures : str
        Description of the images that were compared; the name is that of the JSON key.
    largest_difference : float
        Largest difference between the file's probabilities and the run's.
    limit : float
        Largest difference allowed.
    """

    pictures: str
    largest_difference: float
    limit: float

    def __str__(self) -> str:
        return (
            f"largest difference from the run's own probabilities {self.largest_difference:.1e} on {self.pictures} "
            f"(limit {self.limit:g})"
        )


def make_card(run: Run, kind: Format, check: Check, versions: Mapping[str, str]) -> str:
    """Write the model card in Markdown, starting with the metadata that the Hugging Face hub reads.

    Parameters
    ----------
    run : Run
    kind : Format
    check : Check
    versions : dict
        Software versions of the export.
    """
    return "\n".join(
        [
            *_head(run, kind),
            *_model(run, check),
            *_inputs(run),
            *_classes(run.classes),
            *_metrics(run),
            *_origin(run, versions),
        ]
    )


def _head(run: Run, kind: Format) -> Iterator[str]:
    yield from ("---", f"library_name: {kind.library}", "pipeline_tag: image-classification")
    # names of bases contain no characters that are special in YAML
    yield from ("tags:", *(f"- {name}" for name in dict.fromkeys(r.base for r in run.recipes)))
    yield from ("---", "", f"# {kind.file}", "")
    yield f"An image classifier with {len(run.classes)} classes: {kind.summary}."


def _model(run: Run, check: Check) -> Iterator[str]:
    if run.random:
        yield from (
            "",
            "**The base's weights are RANDOM: use this only to try things out.**",
        )
    yield from ("", f"A {_code(run.head)} head on features of:", "")
    for recipe in run.recipes:
        source, preprocessing = _describe(recipe)
        yield (
            f"- base {_code(recipe.base)} ({_plain(source)}), weights {_code(recipe.weights)} with digest "
            f"{_code(recipe.weights_digest)}, tap {_code(recipe.tap)}, pool {_code(recipe.pool)}; "
            f"{_formula(preprocessing)}, inside the graph"
        )
    if run.tuning and run.best == TUNED:
        stages = ", ".join(stage.stage for stage in run.tuning.stages)
        yield from (
            "",
            f"Base and head were then fine-tuned together, in the stages {_code(stages)}.",
        )
    yield from ("", f"Checked when it was exported: {check}.")
    if run.predict_views > 1 and run.best != TUNED:
        yield (
            f"The run averages over {run.predict_views} views of an image. The graph takes one view, and was compared "
            "with the run on that view."
        )
    if any((recipe.precision, recipe.dtype) != ("float32", "float32") for recipe in run.recipes):
        yield (
            "The run computes or stores features in half precision and the graph computes in single precision, which "
            "explains the difference."
        )


def _inputs(run: Run) -> Iterator[str]:
    size, fit = run.recipes[0].image_size, run.recipes[0].fit
    resized = (
        f"ImageOps.fit(image, ({size}, {size}), Image.Resampling.BILINEAR)"
        if fit == "crop"
        else f"image.resize(({size}, {size}), Image.Resampling.BILINEAR)"
    )
    yield from ("", "## Images", "")
    yield (
        f"Input: `{PIXELS}`, uint8 RGB, shape (n, {size}, {size}, 3). Output: `{PROBABILITIES}`, float32, shape "
        f"(n, {len(run.classes)}). To turn an image into pixels with Pillow:"
    )
    yield from (
        "",
        "```python",
        "image = Image.open(file)",
        f"image.draft(None, ({size}, {size}))",
    )
    yield 'image = ImageOps.exif_transpose(image).convert("RGB")'
    yield from (f"pixels = np.asarray({resized})", "```", "")
    yield "Lay transparent images over white first."


def _classes(classes: Sequence[str]) -> Iterator[str]:
    yield from ("", "## Classes", "", f"In the order of the outputs, also in `{CLASSES_FILE}`:", "")
    # Names are indented and quoted, so no line can end the block.
    yield from ("```json", _printable(json.dumps(list(classes), indent=1, ensure_ascii=False)))
    yield "```"


def _metrics(run: Run) -> Iterator[str]:
    yield from ("", "## Metrics", "")
    yield "| split | images | accuracy | balanced accuracy | macro F1 | log loss |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for split, m in run.metrics.items():
        yield (
            f"| {_code(split)} | {m.images} | {m.accuracy:.4f} | {m.balanced_accuracy:.4f} | {m.macro_f1:.4f} "
            f"| {m.log_loss:.4f} |"
        )
    made = (
        "given with the images" if run.split == "given" else "made from the digests of the images"
    )
    yield from ("", f"The split was {made}. Parameters were chosen on {_code(run.chosen_on)}.")
    if run.predict_views > 1 and run.best != TUNED:
        yield f"These metrics are of averages over {run.predict_views} views."


def _origin(run: Run, versions: Mapping[str, str]) -> Iterator[str]:
    yield from ("", "## Origin", "")
    yield f"- Images, labels and splits: digest {_code(run.data_digest)}"
    yield f"- Fitted {_code(run.created)} by {_code(run.command)}, seed {run.seed}"
    for done, by in (("Fitted", run.versions), ("Exported", versions)):
        yield f"- {done} with {_code(', '.join(f'{name} {number}' for name, number in by.items()))}"
    yield ""


def _describe(recipe: Recipe) -> tuple[str, Preprocessing]:
    if is_backbone(recipe.base):
        return "a custom network", PREPROCESSING[recipe.base.rsplit("-", 2)[1]]
    base = find_base(recipe.base)
    return base.source, base.preprocessing


def _formula(preprocessing: Preprocessing) -> str:
    order = "BGR" if preprocessing.bgr else "RGB"
    scale, offset = (
        ", ".join(f"{number:.6g}" for number in numbers)
        for numbers in (preprocessing.scale, preprocessing.offset)
    )
    return f"pixels ({order}) are multiplied by ({scale}) and ({offset}) is added"


def _printable(text: str) -> str:
    """Escape invisible characters and those that change the text direction, as JSON does."""
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _plain(text: str) -> str:
    """Escape text for Markdown and HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&])", r"\\\1", _printable(text).replace("\n", " "))


def _code(text: str) -> str:
    """Format arbitrary text as inline code, also within a table."""
    shown = _printable(" ".join(text.split())).replace("|", r"\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"{fence}{shown}{fence}"
