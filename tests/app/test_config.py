"""Settings: defaults, environment, refusals in words."""

import re
from pathlib import Path

import pytest

from annotations.errors import OptionError
from app.config import Settings


def test_defaults_live_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/saetrack.db"
    assert settings.broker_url == "filesystem://"
    assert settings.models_dirs[-1] == tmp_path / "models"
    assert settings.host == "127.0.0.1"
    settings.make_folders()
    assert (tmp_path / "uploads").stat().st_mode & 0o777 == 0o700


def test_environment_is_read_by_the_type_of_the_field(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "SAETRACK_DATA_DIR": str(tmp_path),
            "SAETRACK_PORT": "9000",
            "SAETRACK_LEASE_SECONDS": "2.5",
            "SAETRACK_SHARE_COMPUTATIONS": "1",
            "SAETRACK_MODELS_DIRS": f"{tmp_path}/a:{tmp_path}/b",
            "SAETRACK_PUBLIC_URL": "https://tracks.example.org/dna/",
            "SAETRACK_CONTACT": "me@example.org",
            "HOME": "/ignored",
        }
    )
    assert settings.port == 9000
    assert settings.lease_seconds == 2.5
    assert settings.share_computations is True
    assert settings.public_url == "https://tracks.example.org/dna"
    assert settings.contact == "me@example.org"
    assert settings.models_dirs == (tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SAETRACK_PROT", "1", "did you mean SAETRACK_PORT"),
        ("SAETRACK_PORT", "many", "SAETRACK_PORT must be a whole number, got 'many'"),
        ("SAETRACK_PORT", "70000", r"SAETRACK_PORT must be in \[0, 65535\], got 70000"),
        ("SAETRACK_LEASE_SECONDS", "0", "SAETRACK_LEASE_SECONDS must be in"),
        ("SAETRACK_LEASE_SECONDS", "nan", "SAETRACK_LEASE_SECONDS must be in"),
        ("SAETRACK_MAX_ATTEMPTS", "0", "SAETRACK_MAX_ATTEMPTS must be in"),
        ("SAETRACK_TRUST_NETWORK", "yes", "SAETRACK_TRUST_NETWORK must be 0 or 1"),
        ("SAETRACK_PUBLIC_URL", "tracks.example.org", "must be http:// or https://, a host"),
        ("SAETRACK_PUBLIC_URL", "https://x.org/?a=1", "must be http:// or https://, a host"),
        ("SAETRACK_CONTACT", "me", "SAETRACK_CONTACT must be an e-mail address"),
        ("SAETRACK_CACHE_BYTES", "-1", "SAETRACK_CACHE_BYTES must be at least 0"),
        ("SAETRACK_AUTH", "yes", "SAETRACK_AUTH must be none or tokens, got 'yes'"),
        ("SAETRACK_PROXIES", "-1", "SAETRACK_PROXIES must be in"),
        ("SAETRACK_HOST", "0.0.0.0", "without tokens"),  # noqa: S104 - this is what is refused
    ],
)
def test_wrong_settings_are_refused_in_words(name: str, value: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Settings.from_env({name: value})


def test_a_misspelt_setting_is_told_its_near_names_alone() -> None:
    with pytest.raises(OptionError) as caught:
        Settings.from_env({"SAETRACK_MAX_BASE": "1"})
    said = str(caught.value)
    assert "did you mean SAETRACK_MAX_BASES or " in said
    assert len(said) < 250
    (number,) = re.findall(r"docs/settings.md has all (\d+);", said)
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert page.count("| `SAETRACK_") == int(number)
    with pytest.raises(OptionError) as caught:
        Settings.from_env({"SAETRACK_BUNDLED_MODEL": "x"})
    assert "BUNDLED_MODELS" not in str(caught.value)


def test_a_trusted_network_may_be_listened_on() -> None:
    assert not Settings(host="0.0.0.0", trust_network=True).is_loopback  # noqa: S104


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_loopback_addresses_are_known(host: str) -> None:
    assert Settings(host=host).is_loopback


def test_variables_of_the_command_line_are_no_settings(tmp_path: Path) -> None:
    environment = {"SAETRACK_DATA_DIR": str(tmp_path), "SAETRACK_DEBUG": "1"}
    assert Settings.from_env(environment) == Settings(data_dir=tmp_path)


def test_a_device_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="SAETRACK_DEVICE must be auto, cpu, cuda or cuda:N"):
        Settings(data_dir=tmp_path, device="gpu")


def test_the_own_models_folder_may_be_missing_and_no_other(tmp_path: Path) -> None:
    own, named = tmp_path / "models", tmp_path / "named"
    settings = Settings(data_dir=tmp_path, models_dirs=(named, own))
    assert settings.model_roots == (named,)
    own.mkdir()
    assert settings.model_roots == (named, own)
