"""Transfer learning on images: run a frozen base once, keep its features, fit heads in seconds.

Importing this package loads nothing heavy: the names below are resolved on first use, so neither
TensorFlow nor Keras is imported until a base really has to run.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bottleneck.cache.store import FeatureCache
    from bottleneck.errors import BottleneckError
    from bottleneck.evaluate.advise import advise
    from bottleneck.evaluate.compare import compare
    from bottleneck.extraction.extract import extract
    from bottleneck.extraction.transformer import BottleneckFeatures
    from bottleneck.finetuning.finetune import finetune
    from bottleneck.heads.fit import fit_head
    from bottleneck.serve.export import export
    from bottleneck.serve.predict import predict

# Below 1.5.0 on purpose. pandas looks for the NumPy accelerator of the same name and would call
# functions we don't have; it treats anything older than 1.5.0 as absent.
__version__ = "0.1.0"

__all__ = [
    "BottleneckError",
    "BottleneckFeatures",
    "FeatureCache",
    "advise",
    "compare",
    "export",
    "extract",
    "finetune",
    "fit_head",
    "predict",
]

# ... and it warns about the "old" version when it finds us. That warning is of no use to anybody.
warnings.filterwarnings("ignore", message=r"Pandas requires version '.*' or newer of 'bottleneck'")

_HOMES = {
    "BottleneckError": "bottleneck.errors",
    "BottleneckFeatures": "bottleneck.extraction.transformer",
    "FeatureCache": "bottleneck.cache.store",
    "advise": "bottleneck.evaluate.advise",
    "compare": "bottleneck.evaluate.compare",
    "export": "bottleneck.serve.export",
    "extract": "bottleneck.extraction.extract",
    "finetune": "bottleneck.finetuning.finetune",
    "fit_head": "bottleneck.heads.fit",
    "predict": "bottleneck.serve.predict",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        # AttributeError, and nothing else, is what xarray's getattr(bottleneck, "move_sum", None) expects
        raise AttributeError(f"module 'bottleneck' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
