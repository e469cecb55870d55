"""Runs a command until it ends, or the process that asked for it is gone, however that ended.

    python guard.py FOLDER COMMAND...

It knows of that by the end of its standard input, which even SIGKILL brings about. The command is
asked to end, then killed with all it has started: it leads a session that is theirs alone. FOLDER,
which is for them, is taken away. As it may be started beside any environment, it imports nothing of
ours.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

GRACE = 10.0
"""Seconds to end in good order: then it is killed."""


def main(folder: str, command: list[str]) -> None:
    """Run the command; does not return."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    gone = threading.Event()
    threading.Thread(target=_end_with_input, args=[server, gone], daemon=True).start()
    server.wait()
    if gone.is_set():  # else who asked may want to read there why it ended
        shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)  # whatever it has left, and this process


def _end_with_input(server: "subprocess.Popen[bytes]", gone: threading.Event) -> None:
    sys.stdin.buffer.read()
    gone.set()
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(GRACE)
    server.kill()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
