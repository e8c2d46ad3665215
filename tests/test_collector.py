"""The collector of cycles: commands have it look seldom, an import changes nothing."""

import subprocess
import sys

from streamer.collector import NEW_OBJECTS


def first_threshold_after(code: str) -> int:
    script = f"import gc, sys; before = gc.get_threshold()[0]; {code}"
    script += "; print(before, gc.get_threshold()[0], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    before, after = done.stderr.split()
    return 0 if before == after else int(after)


def test_an_import_leaves_the_collector_alone():
    assert first_threshold_after("import streamer, streamer.cli, streamer.engine.engine") == 0


def test_a_command_has_it_look_seldom():
    assert first_threshold_after("from streamer.cli import main; main(['models'])") == NEW_OBJECTS
