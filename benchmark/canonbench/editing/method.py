"""Find an editing method by name, path or function. Methods are imported only when they are requested."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_args

from canonbench.editing.contract import Edit
from canonbench.editing.isolation import foreign
from canonbench.errors import CanonbenchError, UsageError, unknown_name
from canonbench.files import file_hash, is_dir, is_file
from canonbench.records import read_yaml

GROUP = "canonbench.methods"
"""The entry point group in which packages register methods."""
BUILT_IN = {
    "full": "canonbench.editing.methods.full:edit",
    "lora": "canonbench.editing.methods.lora:edit",
    "peft": "canonbench.editing.methods.peft:edit",
    "locft": "canonbench.editing.methods.locft:edit",
    "bitfit": "canonbench.editing.methods.bitfit:edit",
    "senses": "canonbench.editing.methods.senses:edit",
    "in-context": "canonbench.editing.methods.in_context:edit",
}
SUBMISSION = "submission.yaml"
DEFAULT_FUNCTION = "edit"


@dataclass(frozen=True)
class Method:
    """An editing method, ready to be called."""

    name: str
    edit: Edit
    settings: type | None
    """The dataclass of the method's hyperparameters; None if it takes a mapping."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that come with the method (from a submission); the user's values override them."""

    @property
    def module(self) -> str:
        """The name of the method's module."""
        return str((self.edit if inspect.isroutine(self.edit) else type(self.edit)).__module__)

    @property
    def code_digest(self) -> str | None:
        """SHA-256 of the function's source file; None for a callable object without one."""
        source = inspect.getsourcefile(inspect.unwrap(self.edit)) if inspect.isroutine(self.edit) else None
        return file_hash(Path(source)) if source else None


def find_method(reference: str | Path | Callable[..., Any]) -> Method:
    """Find the method that ``reference`` names.

    Args:
        reference: a callable; the name of a built-in method or of an entry point; ``package.module:function``;
            ``path/method.py`` or ``path/method.py:function``; or a folder with a ``submission.yaml`` or ``method.py``.

    Raises:
        UsageError: the method does not exist.
        CanonbenchError: its code cannot be imported, or is not a function of (model, tokenizer, request).
    """
    if callable(reference):
        return _method(getattr(reference, "__name__", type(reference).__name__), reference)
    name = str(reference)
    if name in BUILT_IN:
        return _method(name, _from_module(BUILT_IN[name]))
    installed = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    if name in installed:
        return _method(name, _from_module(installed[name]))
    if is_dir(Path(name)):
        return _from_folder(Path(name))
    file, _, function = name.partition(".py:") if ".py:" in name else (name.removesuffix(".py"), "", "")
    if name.endswith(".py") or ".py:" in name:
        return _method(Path(file).name, _from_file(Path(f"{file}.py"), function or DEFAULT_FUNCTION))
    if ":" in name:
        return _method(name, _from_module(name))
    raise unknown_name(
        "method", name, [*BUILT_IN, *installed], where="(nor is it a folder, a file.py:function or a module:function)"
    )


def _from_folder(folder: Path) -> Method:
    """Load a submission's code and hyperparameters as described in its YAML file; without one, method.py's ``edit``."""
    description = folder / SUBMISSION
    content = read_yaml(description, "method: method.py:edit") if description.is_file() else {}
    code = str(content.get("method", f"method.py:{DEFAULT_FUNCTION}"))
    defaults = content.get("hyperparameters") or {}
    if not isinstance(defaults, dict):
        raise CanonbenchError(f"{description}: 'hyperparameters' must be a mapping, such as 'lr: 3e-4'")
    place = str(folder / code) if ".py" in code else code
    if is_dir(Path(place)):  # it may be this folder, which would recurse
        raise CanonbenchError(f"{description}: 'method' must name a function, such as method.py:edit, not a folder")
    found = find_method(place)
    return Method(folder.resolve().name, found.edit, found.settings, {**found.defaults, **defaults})


def _from_module(reference: str) -> Any:
    module, _, function = reference.partition(":")
    try:
        return _attribute(_imported(module), function, reference)
    except (ValueError, TypeError) as error:  # "", ".x"
        raise UsageError(f"no method {reference!r}: {module!r} cannot be the name of a module") from error
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise UsageError(f"no method {reference!r}: there is no module {error.name!r}") from error
        raise CanonbenchError(f"the method {reference} needs the module {error.name!r}; install it") from error
    except (ImportError, SyntaxError) as error:
        raise CanonbenchError(f"the method {reference} cannot be imported: {error}") from error


def _imported(module: str) -> Any:
    """Import a module, isolated if it is third-party code."""
    if module in sys.modules or module.partition(".")[0] == "canonbench":
        return importlib.import_module(module)

    with foreign(f"{module} cannot be imported", importing=module, passing=(ImportError, SyntaxError)):
        return importlib.import_module(module)


def _from_file(path: Path, function: str) -> Any:
    if not is_file(path):
        raise UsageError(f"no method at {path}: there is no such file")
    name = f"canonbench_method_{path.resolve().parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)

    sys.modules[name] = module  # dataclasses look up their own module here
    with foreign(f"{path} cannot be imported", importing=name):
        sys.path.insert(0, str(path.resolve().parent))  # as for a script: it may import files beside it
        spec.loader.exec_module(module)
    return _attribute(module, function, str(path))


def _attribute(module: Any, function: str, reference: str) -> Any:
    if not hasattr(module, function):
        raise UsageError(f"no method {reference!r}: {module.__name__} has no {function!r}")
    return getattr(module, function)


def _method(name: str, function: Any) -> Method:
    edit = _made(name, function) if inspect.isclass(function) else function
    if not callable(edit):
        raise CanonbenchError(f"method {name}: {edit!r} is not a function of (model, tokenizer, request)")
    parameters = list(inspect.signature(edit).parameters.values())
    if len(parameters) != 3:
        raise CanonbenchError(
            f"method {name}: takes {len(parameters)} arguments, must take three: model, tokenizer, request"
        )
    return Method(name, edit, _settings(edit, parameters[2].annotation))


def _made(name: str, method: type) -> Any:
    """Instantiate a method that is a class, without arguments."""

    with foreign(f"method {name} cannot be made"):
        return method()


def _settings(edit: Any, annotation: Any) -> type | None:
    """Return X from the annotation ``EditRequest[X]`` of the request."""
    if isinstance(annotation, str):  # from __future__ import annotations
        names = getattr(edit, "__globals__", None) or getattr(type(edit).__call__, "__globals__", {})
        try:
            annotation = eval(annotation, names)
        except Exception as error:  # a user's annotation may be anything
            raise CanonbenchError(
                f"the annotation of request, {annotation!r}, cannot be read ({error}); "
                "import its names outside 'if TYPE_CHECKING'"
            ) from error
    arguments = get_args(annotation)
    named = arguments[0] if arguments else Any
    return named if isinstance(named, type) and named not in (Any, dict, Mapping) else None
