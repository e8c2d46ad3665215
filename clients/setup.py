"""The files of the `streamer_client` package, from where they live in this repository.

The wire protocol has one home, `streamer.messages`; here it is copied, with what it imports, into
the client's own package under the client's own name, so that both distributions may be installed
side by side.
"""

import re
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.parent
SOURCES = {  # folder in the repository: place in the package
    "clients/python": "",
    "streamer/messages": "messages",
    "streamer/core": "core",
}
CORE = {"__init__.py", "hypothesis.py", "options.py"}  # what the protocol needs of it
HOMES = {"clients.python": "streamer_client", "streamer": "streamer_client"}
IMPORT = re.compile(r"^(\s*(?:from|import) )(clients\.python|streamer)(?=[. ])", re.MULTILINE)


class BuildClient(build_py):
    """Copies the sources, each with its imports renamed."""

    def run(self) -> None:
        """Write the package into the build folder."""
        for folder, place in SOURCES.items():
            for source in sorted((ROOT / folder).glob("*.py")):
                if folder != "streamer/core" or source.name in CORE:
                    self._copy(source, Path(self.build_lib) / "streamer_client" / place)

    def _copy(self, source: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        text = IMPORT.sub(lambda found: found[1] + HOMES[found[2]], source.read_text("utf-8"))
        (folder / source.name).write_text(text, "utf-8")
        (folder / "py.typed").touch()


setup(
    cmdclass={"build_py": BuildClient},
    options={"build": {"build_base": tempfile.mkdtemp()}},  # no second copy beside the first
)
