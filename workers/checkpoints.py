"""Files of weights: official torch checkpoints read without running anything in them, and
safetensors written one tensor at a time.

    .pt  --weights_only, memory-mapped-->  {name: tensor}  --one after the other-->  .safetensors

Checkpoints of tens of gigabytes pass through here on machines with less memory than
that, so a checkpoint is mapped, never read whole, and what is written is streamed.
"""

import hashlib
import io
import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from annotations.errors import StorageError, WeightsError

BLOCK_BYTES = 32 << 20
"""Bytes made contiguous, hashed and written at once."""

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

Progress = Callable[[str], None]
"""Told the name of what is done next."""


def open_checkpoint(path: Path) -> dict[str, Any]:
    """Open a torch checkpoint: a mapping of names to tensors, mapped from the file.

    Nothing in the file is run: torch's restricted reader makes tensors and plain
    containers, and besides them only `io.BytesIO`, which holds the state of
    Transformer Engine in Evo 2's checkpoints and is not read.

    Parameters
    ----------
    path : Path
        As `torch.save` wrote it.

    Returns
    -------
    content : dict
        Names to tensors, and whatever else the file holds. A mapping under
        ``state_dict`` or ``model_state_dict`` is taken out.

    Raises
    ------
    WeightsError
        If the file is missing, is no checkpoint, or asks for anything else to be made.
    """
    if not path.is_file():
        raise WeightsError(f"there is no checkpoint {path}; give the file that was downloaded")
    try:
        with torch.serialization.safe_globals([io.BytesIO]):
            # files of torch before 1.6 are no archives and cannot be mapped
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path.name} asks for more than tensors, so it was not opened: a checkpoint can run "
            f"code when it is read. torch says: {_first_line(error)}"
        ) from error
    except (RuntimeError, ValueError, EOFError, KeyError) as error:
        raise WeightsError(
            f"{path.name} is not a whole torch checkpoint ({_first_line(error)}); fetch it again, "
            "or give all its parts"
        ) from error
    for key in ("state_dict", "model_state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise WeightsError(
            f"{path.name} must hold named tensors, got a {type(content).__name__}; give the file "
            "of the weights"
        )
    return {str(key): value for key, value in content.items()}


def strip_prefixes(names: Mapping[str, Any], prefixes: Sequence[str]) -> dict[str, Any]:
    """Take what wrappers put before every name away, in any order and number.

    Examples
    --------
    >>> strip_prefixes({"module._orig_mod.W": 1}, ["_orig_mod.", "module."])
    {'W': 1}
    """
    out = dict(names)
    stripped = True
    while stripped and out:
        stripped = False
        for prefix in prefixes:
            if all(name.startswith(prefix) for name in out):
                out = {name.removeprefix(prefix): value for name, value in out.items()}
                stripped = True
    return out


def join_parts(parts: Sequence[Path], out: Path) -> Path:
    """Put the parts of a file that was cut in bytes together, on disk.

    Parameters
    ----------
    parts : sequence of Path
        In order, such as ``evo2_40b.pt.part0`` and ``.part1``.
    out : Path
        New file.

    Returns
    -------
    out : Path

    Raises
    ------
    WeightsError
        If a part is missing or empty.
    StorageError
        If the disk has no room for the whole.
    """
    for part in parts:
        if not part.is_file() or part.stat().st_size == 0:
            raise WeightsError(f"the part {part} is missing or empty; fetch it again")
    needed = sum(part.stat().st_size for part in parts)
    check_room(out.parent, needed, what=f"the {len(parts)} parts joined")
    with out.open("wb") as whole:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, whole, BLOCK_BYTES)
    return out


def check_room(folder: Path, needed: int, *, what: str) -> None:
    """Refuse to begin what the disk cannot take.

    Raises
    ------
    StorageError
        If the disk of `folder` has fewer bytes free than needed.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{what} needs {needed / 1e9:.1f} GB on the disk of {folder}, {free / 1e9:.1f} GB are "
            "free; make room or name another folder"
        )


def write_safetensors(
    tensors: Mapping[str, Tensor],
    path: Path,
    *,
    metadata: Mapping[str, str] | None = None,
    on_tensor: Progress = lambda name: None,
) -> str:
    """Write a safetensors file, never holding more than one block of it in memory.

    Parameters
    ----------
    tensors : mapping of str to tensor
        May be memory-mapped, on any device, and need not be contiguous; written in order
        of name.
    path : Path
        Where to; written beside it first, so that a file under this name is whole.
    metadata : mapping, optional
        Text for the header.
    on_tensor : callable
        Told the name of each tensor before it is written.

    Returns
    -------
    sha256 : str
        Of the file, in lower-case hexadecimal.

    Raises
    ------
    WeightsError
        If a tensor has a type that safetensors does not hold.
    StorageError
        If the disk has no room.
    """
    names = sorted(tensors)
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        tensor = tensors[name]
        if tensor.dtype not in _DTYPES:
            raise WeightsError(f"{name} has the type {tensor.dtype}, which safetensors has not")
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    check_room(path.parent, len(text) + end, what=path.name)
    digest = hashlib.sha256()
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            for piece in (struct.pack("<Q", len(text)), text):
                digest.update(piece)
                file.write(piece)
            for name in names:
                on_tensor(name)
                for block in _blocks(tensors[name]):
                    digest.update(block)
                    file.write(block)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def _blocks(tensor: Tensor) -> Iterator[memoryview]:
    """Bytes of a tensor in order, some rows at a time."""
    if not tensor.numel():
        return
    rows = tensor.detach().reshape(1) if tensor.ndim == 0 else tensor.detach()
    row_bytes = rows[0].numel() * rows.element_size()
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for start in range(0, len(rows), step):
        part = rows[start : start + step].to("cpu").contiguous()
        yield part.view(-1).view(torch.uint8).numpy().data


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
