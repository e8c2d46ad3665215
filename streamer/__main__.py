"""`python -m streamer`, and the command `streamer`; an interrupt is quiet while all loads, too."""

import sys


def main() -> int:
    """Run one command; returns its exit status."""
    try:
        from streamer.cli import main as run

        return run()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
