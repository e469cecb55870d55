"""A vLLM server of one language model, which reads prompts as embeddings.

It runs in an environment of its own, since each release of vLLM wants one release of torch. It
listens on a socket in a folder that its user alone can open, not on a port.

Shapes: S tokens of a prompt, D model width.
"""

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ablate.errors import UserError
from ablate.evaluate.serving import guard

AT_ONCE = 256
"""Prompts that are sent at once at most: vLLM forms its own batches of them."""
STARTS = 1800.0
"""Seconds within which it has to be ready."""
LAST_LINES = 20
MODEL = "candidate"
MEMORY = 0.8
"""The share of a GPU's free memory that it takes; the encoders' activations need the rest."""
PRIVATE = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
"""Variables that speak of our environment, which is not its."""


class ServerError(RuntimeError):
    """The server has ended, or refused a prompt; with its last lines."""


class Server:
    """A server that runs, as its clients see it; `version` is what it calls itself."""

    def __init__(self, process: "subprocess.Popen[bytes]", address: Path, log: Path) -> None:
        self.version = ""
        self._process, self._address, self._log = process, address, log
        self._senders = ThreadPoolExecutor(AT_ONCE, "vllm")

    def answers(
        self, prompts: Sequence[Tensor], most: Sequence[int], stop_ids: Collection[int]
    ) -> list[list[int]]:
        """The greedy answer to each prompt (S,D), up to and without the first of `stop_ids`.

        `most`: how many tokens each may have. ServerError where one is not answered.
        """
        return list(self._senders.map(partial(self._answer, stop_ids), prompts, most))

    def _answer(self, stop_ids: Collection[int], prompt: Tensor, most: int) -> list[int]:
        if most <= 0:
            return []
        file = io.BytesIO()
        torch.save(prompt.clone(), file)  # of a part of a tensor it would write the whole
        asked = {
            "model": MODEL,
            "prompt_embeds": base64.b64encode(file.getvalue()).decode("ascii"),
            "max_tokens": most,
            "temperature": 0.0,
            "stop_token_ids": [*stop_ids],
            "ignore_eos": True,  # what ends a turn is among ours
            "return_token_ids": True,
        }
        ids = self._ask("POST", "/v1/completions", asked)["choices"][0].get("token_ids")
        if ids is None:
            raise ServerError(f"vLLM {self.version} returns no token ids: take a newer one")
        return list(takewhile(lambda token: token not in stop_ids, ids))

    def wait(self) -> None:
        """Until it is ready; ServerError if it ends before, or takes too long."""
        started = time.monotonic()
        while not self._is_ready():
            if self._process.poll() is not None:
                raise self._error("vLLM ended before it was ready")
            if time.monotonic() - started > STARTS:
                raise self._error(f"vLLM was not ready within {STARTS / 60:.0f} minutes")
            time.sleep(0.2)
        self.version = self._ask("GET", "/version")["version"]

    def close(self) -> None:
        """End it; what is still being asked fails."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._senders.shutdown(cancel_futures=True)

    def _is_ready(self) -> bool:
        try:
            return self._send("GET", "/health")[0] == 200
        except (OSError, HTTPException):
            return False

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            status, answer = self._send(method, path, body)
        except (OSError, HTTPException) as error:
            raise self._error(f"vLLM does not answer ({error})") from error
        if status != 200:
            text = answer.decode(errors="replace")
            raise self._error(f"vLLM answers {path} with status {status}: {text[:500]}")
        return json.loads(answer)

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = _Connection(self._address)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _error(self, what: str) -> ServerError:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return ServerError("\n".join([f"{what}; its last lines:", *lines[-LAST_LINES:]]))


class _Connection(HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, address: Path) -> None:
        super().__init__("localhost")
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._address))


@contextmanager
def serve(command: Sequence[str], folder: Path, context: int, device: str) -> Iterator[Server]:
    """A server of the language model in `folder` (Hugging Face's layout), while the block lasts.

    `command`: vLLM's; `context`: tokens of a prompt with its answer at most; `device`: `cpu`,
    computed in float32 as ours, or a GPU, in bfloat16. It ends with this process, however that
    ends. UserError where there is no such command.
    """
    _require(command)
    # Not in $TMPDIR: the address of a socket has room for some hundred letters.
    with TemporaryDirectory(prefix="ablate-", dir="/tmp") as private:
        address, log = Path(private) / "socket", Path(private) / "log"
        words = [*command, "serve", str(folder), "--uds", str(address)]
        words += ["--served-model-name", MODEL, "--enable-prompt-embeds"]
        words += ["--generation-config", "vllm", "--max-model-len", str(context)]
        with log.open("wb") as written:
            process = subprocess.Popen(
                [sys.executable, "-I", guard.__file__, private, *words, *_for_device(device)],
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(device),
            )
        server = Server(process, address, log)
        try:
            server.wait()
            yield server
        finally:
            server.close()


def find_version(command: Sequence[str]) -> str:
    """Which version of vLLM the command is; UserError where there is none, or it does not start."""
    _require(command)
    words = [*command, "--version"]
    try:
        asked = subprocess.run(
            words, env=_environment("cpu"), timeout=STARTS, capture_output=True, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"infra.vllm: {error}") from None
    if asked.returncode:
        last = asked.stderr.strip().rpartition("\n")[2] or f"it ends with {asked.returncode}"
        raise UserError(f"infra.vllm: `{' '.join(words)}` fails: {last}")
    return asked.stdout.strip().rpartition("\n")[2]


def _require(command: Sequence[str]) -> None:
    """UserError unless there is such a command."""
    if not shutil.which(command[0]):
        raise UserError(
            f"infra.generate is vllm, but there is no command '{command[0]}' here; install vLLM "
            "in an environment of its own and name its command in infra.vllm, or take "
            "infra.generate: own"
        )


def _for_device(device: str) -> list[str]:
    """How it computes there, and how much of its memory it takes."""
    if device == "cpu":
        return ["--dtype", "float32", "--enforce-eager"]
    free, held = torch.cuda.mem_get_info(device)
    share = f"{MEMORY * free / held:.3f}"
    return ["--dtype", "bfloat16", "--gpu-memory-utilization", share]


def _environment(device: str) -> dict[str, str]:
    """Ours, but for what speaks of our packages, and with one GPU alone; no host is asked."""
    ours = {name: value for name, value in os.environ.items() if name not in PRIVATE}
    if device.startswith("cuda:"):
        index = int(device.removeprefix("cuda:"))
        seen = ours.get("CUDA_VISIBLE_DEVICES")
        ours["CUDA_VISIBLE_DEVICES"] = seen.split(",")[index] if seen else str(index)
    return {**ours, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
