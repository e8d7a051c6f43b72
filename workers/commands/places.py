"""Where the commands find settings, models and results."""

import os
from pathlib import Path

from annotations.errors import OptionError, UnknownNameError
from app.config import PREFIX, Settings


def settings_from_environment(**changes: object) -> Settings:
    """Settings from environment variables, with some given on the command line.

    Parameters
    ----------
    **changes
        Fields of `Settings` by name; None leaves what the environment says.

    Returns
    -------
    settings : Settings
        Checked.

    Raises
    ------
    OptionError
        If a variable names no setting, or a value is not allowed.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    spelled = {PREFIX + name.upper(): as_variable(value) for name, value in given.items()}
    return Settings.from_env({**os.environ, **spelled})


def as_variable(value: object) -> str:
    """A setting's value as the text of its environment variable."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value))
    return str(value)


def result_file(folder: Path, name: str) -> Path:
    """A file of a result folder.

    Parameters
    ----------
    folder : Path
        Folder that `saetrack annotate` wrote.
    name : str
        Name of the file.

    Returns
    -------
    path : Path
        The existing file.

    Raises
    ------
    UnknownNameError
        If there is no such folder.
    OptionError
        If the folder holds no result.
    """
    if not folder.is_dir():
        raise UnknownNameError(f"there is no folder {folder}; give the one of `saetrack annotate`")
    path = folder / name
    if not path.is_file():
        raise OptionError(
            f"{folder} holds no result of `saetrack annotate`: it has no {name}; "
            "give the folder that --out named"
        )
    return path
