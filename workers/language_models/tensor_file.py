"""A safetensors file as a mapping that reads each tensor when it is asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from annotations.errors import WeightsError


class TensorFile(Mapping[str, Tensor]):
    """Tensors by name; none is kept, so a model is loaded without a second copy of its weights.

    Parameters
    ----------
    path : Path
        A safetensors file.
    device : torch.device, optional
        Where tensors are put; the CPU unless told, where they are mapped from the file.

    Raises
    ------
    WeightsError
        If the file is missing or not safetensors.
    """

    def __init__(self, path: Path, device: torch.device | None = None) -> None:
        if not path.is_file():
            raise WeightsError(
                f"the weights {path} are missing; put them there or correct the card"
            )
        try:
            self._file = safe_open(path, "pt", device=str(device or "cpu"))
            self._names = tuple(self._file.keys())  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            raise WeightsError(
                f"{path} is not a whole safetensors file ({error}); fetch it again or convert it"
            ) from error
        self._known = frozenset(self._names)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._known:
            raise KeyError(name)
        return torch.as_tensor(self._file.get_tensor(name))  # type: ignore[no-untyped-call]

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
