"""Public ImageNet weights, downloaded by Keras or from the Hugging Face hub."""

import contextlib
import socket
import sys
from pathlib import Path
from typing import Any

from bottleneck.bases.architecture import Shape, build_architecture, find_builder
from bottleneck.bases.base import Base
from bottleneck.errors import BottleneckError, one_line

# Seconds to wait for the server of the ImageNet weights; Keras itself would wait for ever.
_DOWNLOAD_TIMEOUT = 20


def download_from_hub(base: Base, repository: str) -> Path:
    """Download a base's weights from the Hugging Face hub, or find them in its cache.

    Raises
    ------
    BottleneckError
        huggingface_hub is not installed, or the download failed.
    """
    instructions = (
        f"Get model.safetensors of {repository} on another machine, convert it with: bottleneck bases convert "
        f"{base.name} model.safetensors {base.name}.weights.h5, and give the result with --weights"
    )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise BottleneckError(
            f"the ImageNet weights of {base.name} are on the Hugging Face hub, and huggingface_hub is not installed: "
            f"pip install 'bottleneck-features[hub]'. Or without it: {instructions}"
        ) from error
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # any exception of its HTTP client
        raise BottleneckError(
            f"the ImageNet weights of {base.name} could not be downloaded ({one_line(error)}). Set HF_HOME to a "
            f"folder that has them, or else: {instructions}"
        ) from error


def build_with_imagenet(base: Base, shape: Shape) -> Any:
    """Build a base with the ImageNet weights that Keras downloads.

    Raises
    ------
    BottleneckError
        The download failed, or the images are too small.
    """
    given = "".join(f", {name}={value}" for name, value in base.options.items())
    builder = find_builder(base)
    # Keras has no option for it, so the default of the process is set and restored
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        # Keras prints the progress of the download on stdout, which is for results
        with contextlib.redirect_stdout(sys.stderr):
            return builder(weights="imagenet", include_top=False, input_shape=shape, **base.options)
    except Exception as error:  # Keras raises a bare Exception here
        if isinstance(error, ValueError):
            # the download or the size: a wrong size is raised here
            build_architecture(base, shape)
        raise BottleneckError(
            f"the ImageNet weights of {base.name} could not be downloaded ({one_line(error)}). Without "
            "internet access, give a file with --weights FILE; on a machine that has it, make the file with: python -c "
            f"'import keras; {base.builder.replace(':', '.')}(include_top=False{given})"
            f'.save_weights("{base.name}.weights.h5")\''
        ) from error
    finally:
        socket.setdefaulttimeout(before)
