"""`python -m streamer.benchmark`: `streamer bench` where other commands' packages are missing."""

import sys

from streamer.benchmark import command, options
from streamer.collector import collect_rarely
from streamer.command_line import Parser
from streamer.config import ConfigError


def main() -> int:
    """Run the command; returns its exit status."""
    parser = Parser(prog="python -m streamer.benchmark")
    options.add_arguments(parser)
    collect_rarely()
    try:
        return command.run(parser.parse_args())
    except ConfigError as mistake:
        print(f"streamer: {mistake}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
