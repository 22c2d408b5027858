"""Unpack GGUF files into plain models that can be scored, edited and saved like any other."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from canonbench.errors import CanonbenchError
from canonbench.models.gguf.header import Header, configuration
from canonbench.models.gguf.tokenizer import check_tokenizer, mend_tokenizer

MAGIC = b"GGUF"
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
ROPE_FACTORS = "rope_freqs.weight"


@contextmanager
def unpacking(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a temporary folder and options with which transformers' ``from_pretrained`` dequantizes a GGUF file.

    The folder holds only a link to the file (a split file is joined there), because transformers would use any
    tokenizer beside the file. The configuration is built here, because transformers ignores much of the header. The
    weights are dequantized, because transformers multiplies packed weights with kernels fetched from the network.

    Raises:
        CanonbenchError: the ``gguf`` package is missing, the file is not GGUF, one of its parts is missing, or its
            header holds something that transformers would not honour.
    """
    import transformers  # noqa: PLC0415  (slow to import)

    parts, header = _read(path)
    with tempfile.TemporaryDirectory() as folder:
        if len(parts) == 1:
            Path(folder, path.name).symlink_to(path.resolve())
        else:
            _join(parts, Path(folder, path.name))
        yield (
            folder,
            {
                "config": configuration(header),
                "gguf_file": path.name,
                "quantization_config": transformers.GgufConfig(dequantize=True),
            },
        )


def gguf_tokenizer(path: Path) -> Any:
    """Load the tokenizer described by a GGUF file (by the first part of a split file)."""
    from transformers import AutoTokenizer  # noqa: PLC0415  (slow to import)

    parts, header = _read(path)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, path.name).symlink_to(parts[0].resolve())
        return mend_tokenizer(AutoTokenizer.from_pretrained(folder, gguf_file=path.name, local_files_only=True), header)


def forget_gguf(model: Any) -> None:
    """Remove the quantization configuration of a dequantized model, so that it can be cast and saved."""
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(model)


def _read(path: Path) -> tuple[list[Path], Header]:
    """Check a file and return all its parts and their combined header."""
    if importlib.util.find_spec("gguf") is None:
        raise CanonbenchError('GGUF files need the gguf package; install it with: pip install "canonbench[demo]"')
    parts = _parts(path)
    for part in parts:
        with part.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise CanonbenchError(f"{part} is not a GGUF file (it does not begin with {MAGIC.decode()})")
    header = _header(path, parts)
    check_tokenizer(header)
    return parts, header


def _parts(path: Path) -> list[Path]:
    """All parts of a split file, in order; just the file itself if its name is not a part's."""
    match = PART.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    parts = [path.with_name(f"{match['stem']}-{number:05d}-of-{match['count']}.gguf") for number in range(1, count + 1)]
    if missing := [part for part in parts if not part.is_file()]:
        raise CanonbenchError(
            f"{path} is one of {count} parts, of which {len(missing)} are missing, {missing[0].name} first; "
            "put all of them in one folder"
        )
    return parts


def _header(path: Path, parts: list[Path]) -> Header:
    """Keys of the first part and tensors of all parts; CanonbenchError if part headers and file names disagree."""
    from gguf import GGUFReader  # noqa: PLC0415  (an extra)

    fields: dict[str, Any] = {}
    tensors: dict[str, tuple[int, ...]] = {}
    factors = None
    for number, part in enumerate(parts):
        reader = GGUFReader(part)
        found = {name: _value(field) for name, field in reader.fields.items()}
        place, count = found.get("split.no", 0), found.get("split.count", 0) or 1
        if (place, count) != (number, len(parts)):
            raise CanonbenchError(
                f"{part} is part {place + 1} of {count} by its header, but not by its name; "
                "give the parts their names back (…-00001-of-00002.gguf)"
            )
        fields = fields or found
        for tensor in reader.tensors:
            tensors[tensor.name] = tuple(int(size) for size in reversed(tensor.shape))
            if tensor.name == ROPE_FACTORS:
                factors = [float(factor) for factor in tensor.data]
    total = fields.get("split.tensors.count", len(tensors))
    if len(parts) > 1 and total != len(tensors):
        raise CanonbenchError(f"{path}: its parts hold {len(tensors)} tensors, not {total}; are they of one model?")
    return Header(path, fields, tensors, factors)


def _value(field: Any) -> Any:
    """A header value as a number, a string or a list of numbers; an array of strings becomes its length."""
    import gguf  # noqa: PLC0415  (an extra)

    if not field.types:
        return None
    if field.types[-1] == gguf.GGUFValueType.STRING:
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            return len(field.data)
        return bytes(field.parts[field.data[0]]).decode("utf-8", errors="replace")
    values = [field.parts[index][0].item() for index in field.data]
    return values if field.types[0] == gguf.GGUFValueType.ARRAY else values[0]


def _join(parts: list[Path], whole: Path) -> None:
    """Join the parts of a split file into one file; tensors are copied unchanged, one at a time."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter  # noqa: PLC0415  (an extra)

    size, free = sum(part.stat().st_size for part in parts), shutil.disk_usage(whole.parent).free
    if size > free:
        raise CanonbenchError(
            f"joining the parts of {whole.name} takes {size / 1e9:.1f} GB in {tempfile.gettempdir()}, which has "
            f"{free / 1e9:.1f} GB; set TMPDIR to a folder with more"
        )
    readers = [GGUFReader(part) for part in parts]
    fields = readers[0].fields
    writer = GGUFWriter(whole, _value(fields["general.architecture"]))
    for name, field in fields.items():
        if name.startswith(("GGUF.", "split.")) or name == "general.architecture":
            continue
        of = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=of)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        writer.add_tensor_info(
            tensor.name, tensor.data.shape, tensor.data.dtype, tensor.n_bytes, raw_dtype=tensor.tensor_type
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()
