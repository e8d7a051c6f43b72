"""Before the server starts: one at a time, a check of the installation, and a tidy folder."""

import pytest

from annotations.errors import OptionError, StateError
from app.config import Settings
from tests.workers.factories import DICTIONARY_ID, make_tiny_models
from workers.startup import (
    check_installation,
    clear_scratch,
    clear_uploads,
    only_server,
    scratch_folder,
)


@pytest.fixture
def settings(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    settings.make_folders()
    return settings


def test_a_data_folder_has_one_server(settings):
    refused = pytest.raises(StateError, match=r"another `saetrack serve` uses .*--data-dir")
    with only_server(settings), refused, only_server(settings):
        pass
    with only_server(settings):
        pass


def test_an_installation_without_models_may_start(tmp_path):
    fresh = Settings(data_dir=tmp_path / "fresh", bundled_models=tmp_path / "none")
    assert check_installation(fresh).dictionaries == {}


def test_a_named_models_folder_must_exist(tmp_path):
    missing = Settings(data_dir=tmp_path, models_dirs=(tmp_path / "nowhere",))
    with pytest.raises(OptionError, match="nowhere does not exist"):
        check_installation(missing)
    make_tiny_models(tmp_path / "nowhere")
    assert list(check_installation(missing).dictionaries) == [DICTIONARY_ID]


def test_a_gpu_that_is_not_there_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OptionError, match="torch sees no GPU here"):
        check_installation(Settings(data_dir=tmp_path, device="cuda"))


def test_scratch_of_the_dead_goes_and_that_of_the_living_stays(settings):
    for worker in ("alive", "dead"):
        (scratch_folder(settings, worker) / "shard-x").mkdir(parents=True)
    clear_scratch(settings, living=["alive"])
    assert scratch_folder(settings, "alive").is_dir()
    assert not scratch_folder(settings, "dead").exists()


def test_half_read_uploads_go(settings):
    (settings.upload_dir / "tmpabc").mkdir()
    (settings.upload_dir / "tmpabc" / "sequences.fa").write_bytes(b">0\n")
    (settings.upload_dir / "tmpdef").write_bytes(b"x")
    clear_uploads(settings)
    assert list(settings.upload_dir.iterdir()) == []
