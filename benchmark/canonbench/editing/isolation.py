"""Run third-party code in this process: restore the process state that it changed, and turn its exits into errors.

    own = Isolation(seed=request.seed)
    with own.entered():
        ...                     # the method's code; torch, numpy and random are seeded
    ...                         # the state from before is restored
    with own.entered():
        ...                     # the method's code again: its random state and settings continue

Some changes cannot be undone here (replaced functions of libraries, threads that keep running). They are detected by
scoring the base again before it is used, see ``EditRun.fresh_base``.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from canonbench.errors import CanonbenchError


class Setting(NamedTuple):
    """One piece of process state, with its getter and setter."""

    get: Callable[[], Any]
    put: Callable[[Any], Any]


class Isolation:
    """The process state that one piece of foreign code sees, kept between its steps."""

    def __init__(self, seed: int | None = None, after: str | None = None) -> None:
        """Prepare the state; nothing changes before ``entered``.

        Args:
            seed: seed for torch, numpy and random when first entered; None leaves their states unchanged.
            after: the module of the code; the settings made by importing it apply inside.
        """
        self._seed = seed
        self._changed = dict(_BY_IMPORTS.get(after or "", {}))
        self._random: dict[int, Any] | None = None

    @contextmanager
    def entered(self, importing: str | None = None) -> Iterator[None]:
        """Switch to the foreign code's state inside, and restore the previous state afterwards, also on errors.

        ``importing`` names the module if the code inside imports it.
        """
        outside, drawn = _read(_SETTINGS), _read(_RANDOM)
        _put(_SETTINGS, outside, self._changed)
        if self._random is not None:
            _put(_RANDOM, {}, self._random)
        elif self._seed is not None:
            seed_all(self._seed)
        try:
            yield
        finally:
            inside = _read(_SETTINGS)
            self._changed = {each: value for each, value in inside.items() if value != outside.get(each)}
            self._random = _read(_RANDOM)
            _put(_SETTINGS, inside, outside)
            _put(_RANDOM, {}, drawn)
            if importing:
                _BY_IMPORTS[importing] = self._changed


_BY_IMPORTS: dict[str, dict[int, Any]] = {}
"""Settings made by importing each foreign module, applied only while its code runs. Global, like ``sys.modules``."""


@contextmanager
def foreign(what: str, *, importing: str | None = None, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Run foreign code isolated, and turn everything it raises, except Ctrl-C, into a CanonbenchError.

    Args:
        what: name of the code; the error message begins with it.
        importing: the module, if the code inside imports it.
        passing: exceptions to let through for the caller.

    Raises:
        CanonbenchError: raised by the code itself, or a one-line message about anything else it raised, or sys.exit.
    """
    try:
        with Isolation().entered(importing):
            yield
    except (CanonbenchError, KeyboardInterrupt):
        raise
    except passing:
        raise
    except BaseException as error:  # third-party code may raise anything
        raise CanonbenchError(f"{what}: {told(error)}") from error


def told(error: BaseException) -> str:
    """Describe an exception of foreign code in one line."""
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({'' if error.code is None else repr(error.code)}))"
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def seed_all(seed: int) -> None:
    """Seed every global random state that a method may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # on all devices


def _read(settings: tuple[Setting, ...]) -> dict[int, Any]:
    """Read settings, by index; skip unreadable ones, such as a flag that this torch lacks or has deprecated."""
    found = {}
    for place, setting in enumerate(settings):
        with suppress(RuntimeError, AttributeError):
            found[place] = setting.get()
    return found


def _put(settings: tuple[Setting, ...], now: dict[int, Any], values: dict[int, Any]) -> None:
    """Set every setting whose value in ``now`` differs from ``values``."""
    for place, value in values.items():
        if place not in now or now[place] != value:
            settings[place].put(value)


def _folder() -> str | None:
    with suppress(OSError):  # the folder may have been deleted
        return str(Path.cwd())
    return None


def _change_folder(folder: str) -> None:
    with suppress(OSError):
        os.chdir(folder)


def _change_environment(values: dict[str, str]) -> None:
    for name in os.environ.keys() - values.keys():
        del os.environ[name]
    os.environ.update(values)


def _warnings() -> tuple[Any, ...]:
    return warnings.filters, list(warnings.filters), warnings.showwarning


def _put_warnings(value: tuple[Any, ...]) -> None:
    filters, content, show = value
    warnings.filters = filters  # catch_warnings replaces the list object
    warnings.resetwarnings()  # tells the interpreter that the filters changed
    warnings.filters[:] = content  # type: ignore[index]
    warnings.showwarning = show


def _handlers() -> dict[int, Any]:
    """Return the signal handlers by signal number; only the main thread may set them."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _put_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) != handler:  # None: not set from Python
            with suppress(OSError, ValueError):
                signal.signal(number, handler)


def _put_logging(value: tuple[int, int, list[Any]]) -> None:
    level, disabled, handlers = value
    logging.root.setLevel(level)
    logging.disable(disabled)
    logging.root.handlers[:] = handlers


def _put_device(device: torch.device) -> None:
    torch.set_default_device(None if device == torch.device("cpu") else device)


def _autocast() -> list[tuple[str, bool, Any]]:
    return [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")]


def _put_autocast(value: list[tuple[str, bool, Any]]) -> None:
    for kind, enabled, dtype in value:
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)


def _attention() -> tuple[bool, ...]:
    kinds: Any = torch.backends.cuda
    return tuple(getattr(kinds, f"{kind}_sdp_enabled")() for kind in _ATTENTION)


def _put_attention(value: tuple[bool, ...]) -> None:
    for kind, enabled in zip(_ATTENTION, value, strict=True):
        getattr(torch.backends.cuda, f"enable_{kind}_sdp")(enabled)


_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")


def _attribute(thing: Any, name: str) -> Setting:
    return Setting(lambda: getattr(thing, name), lambda value: setattr(thing, name, value))


_SETTINGS = (
    Setting(_folder, _change_folder),
    Setting(lambda: dict(os.environ), _change_environment),
    Setting(lambda: list(sys.path), lambda value: sys.path.__setitem__(slice(None), value)),
    *(_attribute(sys, name) for name in ("argv", "stdin", "stdout", "stderr")),
    Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Setting(_warnings, _put_warnings),
    Setting(_handlers, _put_handlers),
    Setting(lambda: (logging.root.level, logging.root.manager.disable, list(logging.root.handlers)), _put_logging),
    Setting(np.geterr, lambda value: np.seterr(**value)),
    Setting(torch.get_default_dtype, torch.set_default_dtype),
    Setting(torch.get_default_device, _put_device),
    Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting(torch.get_num_threads, torch.set_num_threads),
    Setting(
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "deterministic", "benchmark", "allow_tf32")),
    *(
        _attribute(torch.backends.cuda.matmul, name)
        for name in ("allow_fp16_reduced_precision_reduction", "allow_bf16_reduced_precision_reduction")
    ),
    _attribute(torch.backends.mkldnn, "enabled"),
    Setting(_attention, _put_attention),
    Setting(_autocast, _put_autocast),
)
"""The settings that would change scores or end the run if they stayed changed. All are cheap to read."""


def _cuda_random() -> list[torch.Tensor]:
    cuda: Any = torch.cuda
    return list(cuda.get_rng_state_all()) if cuda.is_initialized() else []


def _put_cuda_random(states: list[torch.Tensor]) -> None:
    if states:
        torch.cuda.set_rng_state_all(states)


_RANDOM = (
    Setting(random.getstate, random.setstate),
    Setting(lambda: np.random.get_state(legacy=False), np.random.set_state),
    Setting(torch.get_rng_state, torch.set_rng_state),
    Setting(_cuda_random, _put_cuda_random),
)
