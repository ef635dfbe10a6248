"""The folder of an unfinished run: one process trains in it, and its checkpoint survives an interruption."""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from bottleneck.errors import BottleneckError
from bottleneck.finetuning.checkpoint import FILE_NAME as CHECKPOINT
from bottleneck.finetuning.plan import PLAN

_log = logging.getLogger("bottleneck")

# Added to the run's name until the run is complete.
SUFFIX = ".unfinished"

_LOCK = ".lock"

# Files that are no part of the complete run.
WORK_FILES = (CHECKPOINT, PLAN, _LOCK)


@contextlib.contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """Lock the folder a run is trained in; remove it in the end, unless it holds a checkpoint.

    Parameters
    ----------
    path : Path
        Folder of the complete run.

    Raises
    ------
    BottleneckError
        Another process trains in the folder, or the folder cannot be written.
    """
    folder = path.with_name(path.name + SUFFIX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise BottleneckError(
            f"{folder} is being trained by another process; wait until it ends, or give another folder with --out"
        ) from None
    except OSError as error:
        raise BottleneckError(
            f"cannot write the run {path}: {error.strerror or error}; give another folder with --out"
        ) from error
    try:
        yield folder
    except BottleneckError:
        raise
    except BaseException:  # Ctrl-C, which may come back from C code as another exception, and bugs
        if (folder / CHECKPOINT).exists():
            _log.warning(
                "The checkpoint is kept in %s; run the same command again to continue after the last epoch.",
                folder,
            )
        raise
    finally:
        if not (folder / CHECKPOINT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()
