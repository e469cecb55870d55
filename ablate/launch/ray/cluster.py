"""A Ray cluster by its Jobs API, which outlives every driver: what it runs, and asking it for more.

It is HTTP, of the dashboard: a driver need not be on a node of the cluster, nor have Ray installed.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import UserError

HERE = "http://127.0.0.1:8265"
"""Where `ray start --head` puts a dashboard."""
PATIENCE = 30.0
"""Seconds that a cluster is given to answer."""


class AwayError(Exception):
    """The cluster does not answer, and why in a line."""


class RefusedError(Exception):
    """The cluster did not take a job, and why in a line."""


@dataclass(frozen=True)
class RayJob:
    """A job as Ray sees it: its number, its status (`""`: Ray does not know it), what Ray says of
    that, and of which kind an error is."""

    number: str
    status: str = ""
    message: str = ""
    error: str = ""

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("PENDING", "RUNNING")

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.status == "PENDING"

    @property
    def reason(self) -> str:
        """Ray's word for why it waits."""
        return self.status

    def said(self) -> str:
        """Why it waits, in words."""
        return "no node has what it asks for free (PENDING)"


@dataclass(frozen=True)
class Cluster:
    """The cluster whose dashboard is at `address`."""

    address: str

    @classmethod
    def at(cls, address: str | None) -> "Cluster":
        """At this address; None: where the environment says, or on this machine."""
        address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or HERE
        return cls(address.rstrip("/"))

    def require(self, patience: float = PATIENCE) -> str:
        """The version of Ray there. Raises UserError where the cluster does not answer."""
        try:
            return str(self._call("GET", "/api/version", patience=patience)["ray_version"])
        except (AwayError, RefusedError, KeyError, TypeError) as error:
            raise UserError(
                f"no Ray cluster answers at {self.address}: {error}; `ray start --head` begins one "
                "here (`pip install 'ablate-vlm[ray]'`), infra.ray.address names another"
            ) from None

    def submit(self, number: str, asked: Mapping[str, Any], entrypoint: str) -> None:
        """Have a job run a line of shell under this number, where what it asks for is free.

        Raises RefusedError, or AwayError where Ray may have heard nothing.
        """
        body = {"submission_id": number, "entrypoint": entrypoint, **asked}
        self._call("POST", "/api/jobs/", body)

    def jobs(self, patience: float = PATIENCE) -> dict[str, RayJob] | None:
        """All jobs that were submitted, by their numbers; None if Ray does not answer."""
        try:
            listed = self._call("GET", "/api/jobs/", patience=patience)
            return {job.number: job for job in map(_job, listed) if job.number}
        except (AwayError, RefusedError, TypeError, AttributeError):
            return None

    def stop(self, number: str) -> None:
        """End a job; one that has ended already, or is not known, does not mind."""
        try:
            self._call("POST", f"/api/jobs/{number}/stop")
        except (AwayError, RefusedError):
            return

    def _call(self, method: str, path: str, body: Any = None, patience: float = PATIENCE) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **_authorization()}
        request = urllib.request.Request(f"{self.address}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=patience) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            lines = error.read().decode(errors="replace").strip().splitlines()
            raise RefusedError(lines[-1] if lines else str(error)) from None
        except (OSError, ValueError) as error:
            raise AwayError(str(getattr(error, "reason", error))) from None


def _job(listed: Mapping[str, Any]) -> RayJob:
    names = ("submission_id", "status", "message", "error_type")
    number, status, message, error = (listed.get(name) or "" for name in names)
    return RayJob(number, status, message, error)


def _authorization() -> dict[str, str]:
    """The token of a cluster that wants one, from where Ray itself looks for it."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and path.is_file():
        token = path.read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
