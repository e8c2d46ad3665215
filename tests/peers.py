"""Programs of others that the tests talk to: `python -m tests.peers` installs them, once.

They pin versions that do not go with ours, so they have a virtual environment inside ours.
"""

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("peers.txt")
PLACE = Path(sys.prefix) / "peers"


def python() -> str:
    """The interpreter that has them; installs them if they are missing or others are wanted."""
    path, installed = PLACE / "bin" / "python", PLACE / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if not installed.exists() or installed.read_text() != wanted:
        venv.create(PLACE, clear=True, with_pip=True)
        options = ["--quiet", "--no-input", "--disable-pip-version-check"]
        install = [str(path), "-m", "pip", "install", *options, "-r", str(REQUIREMENTS)]
        subprocess.run(install, check=True)
        installed.write_text(wanted)
    return str(path)


if __name__ == "__main__":
    python()
