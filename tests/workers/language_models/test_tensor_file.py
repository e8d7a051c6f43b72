"""A safetensors file as a mapping."""

import pytest
import torch
from safetensors.torch import save_file

from annotations.errors import WeightsError
from workers.language_models.tensor_file import TensorFile


def test_tensors_keep_their_type_and_value(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3).bfloat16(), "b.c": torch.tensor([1, 2])}
    save_file(tensors, tmp_path / "f.safetensors")
    file = TensorFile(tmp_path / "f.safetensors", torch.device("cpu"))
    assert len(file) == 2
    assert set(file) == {"a", "b.c"}
    for name, tensor in tensors.items():
        assert name in file
        assert file[name].dtype == tensor.dtype
        assert torch.equal(file[name], tensor)


def test_a_name_the_file_has_not_is_a_key_error(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "f.safetensors")
    file = TensorFile(tmp_path / "f.safetensors")
    assert "b" not in file
    assert file.get("b") is None
    with pytest.raises(KeyError):
        file["b"]


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    path = tmp_path / "f.safetensors"
    with pytest.raises(WeightsError, match="are missing"):
        TensorFile(path)
    save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        TensorFile(path)
