"""`ablate demo`: a local page on which two trained candidates are asked side by side."""

import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from ablate.commands.options import DEFAULT_STUDY
from ablate.commands.trained import Trained, trained_candidate
from ablate.errors import UserError
from ablate.files import home
from ablate.signals import terminable
from ablate.store.answers import ANSWERS
from ablate.store.artifacts import Store

HOST = "127.0.0.1"
BASE = "base"
GRACE = 3.0
"""Seconds that the server may take to end."""
MEGABYTES = 50
"""Of a picture that is uploaded, at most."""


def serve(named: Sequence[str], overrides: Sequence[str], port: int, show: bool) -> None:
    """Serve the page, whose address is printed, until a Ctrl-C or SIGTERM.

    `named`: two `STUDY[:CANDIDATE]`, or one, default the winner, beside which its base stands.
    UserError where Streamlit is not installed, for a candidate that is not scored, a taken port.
    """
    if find_spec("streamlit") is None:
        raise UserError("the page needs Streamlit: pip install 'ablate-vlm[demo]'")
    both = [trained_candidate(name, overrides) for name in _pair(named)]
    if len(named) < 2 and both[0].evaluation.key == both[1].evaluation.key:
        raise UserError(f"{both[0].candidate.name} is the base itself: name two candidates")
    page = str(files("ablate.evaluate.demo") / "page.py")
    line = [sys.executable, "-u", "-m", "streamlit", "run", page, *_options(_free(port), show)]
    _run([*line, "--", json.dumps(subject_of(both))])


def _run(line: Sequence[str]) -> None:
    """A server until it ends, or this process is told to; it may wait for a browser, but not us.

    It is below a word that only who started it is told, for every user of a machine can reach its
    loopback address. All users can read what a program is started with, but not its environment.
    """
    secret = {"STREAMLIT_SERVER_BASE_URL_PATH": secrets.token_hex(16)}
    with terminable(), subprocess.Popen(line, env={**os.environ, **secret}) as server:
        try:
            server.wait()
        finally:
            server.terminate()
            try:
                server.wait(GRACE)
            except subprocess.TimeoutExpired:
                server.kill()


def _pair(named: Sequence[str]) -> Sequence[str]:
    """Two, the base of the same study beside one."""
    if len(named) > 2:
        raise UserError("a page is of two candidates: `ablate demo STUDY:A STUDY:B`")
    if len(named) == 2:
        return named
    only = named[0] if named else DEFAULT_STUDY
    before, colon, _ = only.rpartition(":")
    return [only, f"{before if colon else only}:{BASE}"]


def subject_of(both: Sequence[Trained]) -> dict[str, Any]:
    """What the page is about: the candidates, and the questions that the first was scored on."""
    first = both[0]
    return {
        "names": [f"{trained.study.name}:{trained.candidate.name}" for trained in both],
        "folders": [str(trained.trained.folder) for trained in both],
        "answers": str(Store(home()).file(first.evaluation, ANSWERS)),
        "images": first.candidate.images and str(first.candidate.images),
    }


def _free(port: int) -> int:
    """The port, or of 0 a free one. UserError where it is taken."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"--port {port}: {error.strerror}; leave it out for a free one"
            ) from None
        free: int = tried.getsockname()[1]
        return free


def _options(port: int, show: bool) -> list[str]:
    """Of Streamlit: for this machine alone; nothing is reported to its makers."""
    settings = {
        "server.address": HOST,
        "server.port": port,
        "server.headless": not show,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MEGABYTES,
        "browser.gatherUsageStats": False,
        "runner.magicEnabled": False,
        "client.toolbarMode": "viewer",
        "client.showErrorLinks": False,
    }
    return [f"--{name}={str(value).lower()}" for name, value in settings.items()]
