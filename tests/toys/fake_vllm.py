"""A command `vllm` that answers as a server of vLLM does, by transformers in this process."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from threading import Lock, Thread
from typing import Any

import torch
from transformers import AutoModelForCausalLM

COMMAND = """#!/bin/sh
[ "$1" = --version ] && echo 0.0.fake && exit
echo "$2" > {root}/folder
echo "$@" > {root}/words
ln -s {root}/socket "$4"
exec sleep 1000
"""


class FakeVllm(ThreadingMixIn, UnixStreamServer):
    """It listens at `root`; `command` is what starts it, as far as can be seen from outside."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, root: Path) -> None:
        super().__init__(str(root / "socket"), Handler)
        self.root = root
        self.command = root / "vllm"
        self.command.write_text(COMMAND.format(root=root), encoding="utf-8")
        self.command.chmod(0o700)
        self.asked: list[dict[str, Any]] = []
        self.lock = Lock()

    @cached_property
    def llm(self) -> Any:
        folder = (self.root / "folder").read_text(encoding="utf-8").strip()
        return AutoModelForCausalLM.from_pretrained(folder).eval()

    @torch.inference_mode()
    def answer(self, asked: dict[str, Any]) -> list[int]:
        """The greedy answer, with the token that ends it, as vLLM has it."""
        file = io.BytesIO(base64.b64decode(asked["prompt_embeds"], validate=True))
        read = torch.load(file, weights_only=True)[None]
        answer: list[int] = []
        while len(answer) < asked["max_tokens"]:
            answer.append(int(self.llm(inputs_embeds=read).logits[0, -1].argmax()))
            if answer[-1] in asked["stop_token_ids"]:
                break
            read = torch.cat(
                [read, self.llm.get_input_embeddings()(torch.tensor([answer[-1:]]))], 1
            )
        return answer


class Handler(BaseHTTPRequestHandler):
    server: FakeVllm

    def do_GET(self) -> None:
        self.reply(200, {"version": "0.0.fake"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(asked)
            if asked["max_tokens"] > 100:
                return self.reply(400, {"error": {"message": "max_tokens is too large"}})
            ids = self.server.answer(asked)
        self.reply(200, {"choices": [{"token_ids": ids, "finish_reason": "stop"}]})

    def reply(self, status: int, values: Any) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def fake_vllm(root: Path) -> Iterator[FakeVllm]:
    """One that answers while the block lasts; `root` is a short path."""
    with FakeVllm(root) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()
