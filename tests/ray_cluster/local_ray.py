"""A private Ray cluster on this machine as a test sees it: a head without CPUs, and two nodes.

Its processes are told by a variable that they all inherit; nobody else's Ray is touched.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

TAG = "ABLATE_TEST_RAY"
NODES = ("n1", "n2")
QUICK = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
"""A node that is gone is known to be within two seconds."""
PATIENT = {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300", "RAY_NUM_REDIS_GET_RETRIES": "150"}
"""Seconds that its parts have to start, on a machine that is busy with other tests."""
ATTEMPTS = 3
"""To start it: some of its limits cannot be told, and a port may be taken meanwhile."""
COMMON = [
    *("--disable-usage-stats", "--object-store-memory=80000000"),
    *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
]


class LocalRay:
    """A cluster whose files are in `folder`, which must have a short path for its sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""

    def start(self) -> None:
        """Start the head and all nodes."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._start_all()
            except RuntimeError:
                self.stop()
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _start_all(self) -> None:
        self.gcs, dashboard, client = _free_ports(3)
        self.address = f"http://127.0.0.1:{dashboard}"
        head = ["--head", f"--port={self.gcs}", f"--dashboard-port={dashboard}", "--num-cpus=0"]
        head += [f"--temp-dir={self.folder}", f"--ray-client-server-port={client}"]
        self._start("head", head)
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: str) -> None:
        """Start a node, or start it again."""
        self._start(node, [f"--address=127.0.0.1:{self.gcs}", "--num-cpus=2"])

    def kill_raylet(self, node: str) -> None:
        """Kill what makes a node one; what ran there ends with it."""
        for pid in self.processes(node):
            with suppress(OSError):
                if "raylet" in Path(f"/proc/{pid}/exe").readlink().name:
                    os.kill(pid, signal.SIGKILL)

    def node_of(self, pid: int) -> str:
        """The node on which a process runs."""
        return next(node for node in NODES if pid in self.processes(node))

    def processes(self, node: str = "") -> list[int]:
        """All processes of the cluster, or of one node."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with suppress(OSError):
                    variables = (entry / "environ").read_bytes().split(b"\0")
                    if any(one.startswith(self._tag(node)) for one in variables):
                        found.append(int(entry.name))
        return found

    def stop(self) -> None:
        """End all of it."""
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)

    def _tag(self, node: str) -> bytes:
        return f"{TAG}={self.folder}:{node}".encode()

    def _start(self, node: str, words: list[str]) -> None:
        line = [str(Path(sys.executable).with_name("ray")), "start", *words, *COMMON]
        tag = {TAG: f"{self.folder}:{node}", "OMP_NUM_THREADS": "1", **QUICK, **PATIENT}
        hidden = {name: value for name, value in os.environ.items() if name != "CI"}
        ended = subprocess.run(
            line, env={**hidden, **tag}, capture_output=True, text=True, timeout=200
        )
        if ended.returncode:
            raise RuntimeError(f"ray start of {node}: {ended.stdout}\n{ended.stderr}")


def _free_ports(number: int) -> list[int]:
    """TCP ports that nobody has now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
