"""How often Python's collector of cycles looks through what there is, in a process that is ours.

A command asks for it; the library leaves the collector of its user's process alone.
"""

import gc

NEW_OBJECTS = 50_000
"""So many more than were freed are made between two looks; Python's own 700 suits short scripts."""


def collect_rarely() -> None:
    """Look seldom: a thousand streams keep a thousand times the objects, and cycles are rare."""
    gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
