"""YAML files that people write: read strictly, a fault named by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from canonbench.errors import CanonbenchError


def read_mapping(path: Path, example: str) -> dict[Any, Any]:
    """The ``key: value`` lines of a file; ``example`` is one of them, for the message where there are none.

    Raises:
        CanonbenchError: the file cannot be read, is not YAML (``file:line`` is named), or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CanonbenchError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CanonbenchError(f"{path}: not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise CanonbenchError(f"{place}: not valid YAML: {problem or ' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise CanonbenchError(f"{path}: must hold 'key: value' lines, such as '{example}'")
    return content
