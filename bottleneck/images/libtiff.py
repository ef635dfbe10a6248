"""Messages of libtiff, which it would print to standard error by itself."""

import ctypes
import functools
import threading
from pathlib import Path
from typing import Any

import PIL

# Enough for one message; the rest of a longer one is dropped.
_LENGTH = 200

_said = threading.local()


def collect_messages() -> list[str]:
    """Begin to collect what libtiff says in this thread, and return the list it goes to.

    Where Pillow's copy of libtiff is not found, it prints as before and the list stays empty.
    """
    _install_handlers()
    _said.messages = []
    return _said.messages  # type: ignore[no-any-return] # a thread's own attributes have no types


@functools.cache
def _install_handlers() -> tuple[Any, ...]:
    """Replace libtiff's handlers once; what is returned must live as long as they may be called."""
    libraries = sorted((Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff*"))
    if not libraries:
        return ()
    library, libc = ctypes.CDLL(str(libraries[0])), ctypes.CDLL(None)
    libc.vsnprintf.argtypes = (
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_char_p,
        ctypes.c_void_p,
    )

    def collect(_module: bytes | None, text: bytes, values: int) -> None:
        messages = getattr(_said, "messages", None)
        if messages is not None and not messages:  # the first says what is wrong
            line = ctypes.create_string_buffer(_LENGTH)
            libc.vsnprintf(line, _LENGTH, text, values)
            messages.append(line.value.decode("utf-8", "replace"))

    kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
    errors, warnings = kind(collect), kind(lambda *_: None)
    library.TIFFSetErrorHandler(errors)
    library.TIFFSetWarningHandler(warnings)
    return library, errors, warnings
