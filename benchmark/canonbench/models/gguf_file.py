"""GGUF files: unpacked into a plain model that can be scored, edited and saved like any other."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError

MAGIC = b"GGUF"


@contextmanager
def unpacking(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """A folder and the options by which transformers' ``from_pretrained`` unpacks a GGUF file.

    The folder holds a link to the file and nothing else: a tokenizer that happens to lie beside the file would be taken
    for the file's own. Left packed, the weights would be multiplied by kernels fetched from the network.

    Raises:
        CanonbenchError: the ``gguf`` package is missing, or this is not a GGUF file.
    """
    import transformers  # noqa: PLC0415  (slow to import)

    if importlib.util.find_spec("gguf") is None:
        raise CanonbenchError('GGUF files need the gguf package; install it with: pip install "canonbench[demo]"')
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise CanonbenchError(f"{path} is not a GGUF file (it does not begin with {MAGIC.decode()})")
    packed_by_default = hasattr(transformers, "GgufConfig")  # older versions always unpack
    unpack = {"quantization_config": transformers.GgufConfig(dequantize=True)} if packed_by_default else {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, path.name).symlink_to(path.resolve())
        yield folder, {"gguf_file": path.name, **unpack}


def forget_gguf(model: Any) -> None:
    """Drop what still says that the model is quantized, so that it can be cast and saved."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(model)
