"""Runs a command until it ends, or the process that asked for it is gone, however that ended.

    python guard.py COMMAND...

It knows of that by the end of its standard input, which even SIGKILL brings about. The command is
asked to end, then killed with all it has started: it leads a session that is theirs alone. As it
may be started beside any environment, it imports nothing of ours.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE = 10.0
"""Seconds to end in good order: then it is killed."""


def main(command: list[str]) -> None:
    """Run the command; does not return."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_input, args=[server], daemon=True).start()
    server.wait()
    os.killpg(0, signal.SIGKILL)  # whatever it has left, and this process


def _end_with_input(server: "subprocess.Popen[bytes]") -> None:
    sys.stdin.buffer.read()
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
