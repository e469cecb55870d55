"""No secret of the environment is found in what a run leaves behind."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest

from ablate.config.study import Study
from ablate.driver.scheduler import drive
from ablate.redaction import redacted
from ablate.worker.run import StepContext

SECRETS = {
    "HF_TOKEN": "hf_abcdefghijklmnop",
    "OPENAI_API_KEY": "sk-1234567890",
    "WANDB_API_KEY": "0123456789abcdef",
    "DB_PASSWORD": "correct horse",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return SECRETS


def leak(ctx: StepContext) -> dict[str, Any]:
    raise RuntimeError(f"401 for https://hub/?token={'&'.join(SECRETS.values())}")


def test_a_failure_that_tells_secrets_leaves_none_in_any_file(
    small: Study, environment: Mapping[str, str], own_home: Path
) -> None:
    events: list[str] = []
    executors = {**core_fakes.EXECUTORS, "finetune": leak}
    drive(
        small,
        backend="inline",
        home=own_home,
        on_event=lambda event: events.append(event.message),
        executors=executors,
    )
    texts = [path.read_bytes() for path in own_home.rglob("*") if path.is_file()]
    told = b"".join(texts) + "".join(events).encode()
    assert b"401 for https://hub/?token=$HF_TOKEN&$OPENAI_API_KEY" in told
    assert [name for name, value in environment.items() if value.encode() in told] == []


def test_logs_are_for_their_owner_only(
    small: Study, fakes: Mapping[str, str], own_home: Path
) -> None:
    before = os.umask(0o022)
    try:
        drive(small, 1, backend="inline", home=own_home, executors=fakes)
    finally:
        os.umask(before)
    logs = list(own_home.glob("logs/*/*.log"))
    assert logs
    assert {log.stat().st_mode & 0o777 for log in logs} == {0o600}


def test_a_secret_within_another_is_not_left_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_TOKEN", "abcdefghijkl")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert redacted("abcdefghijkl abcdefgh false") == "$B_TOKEN $A_TOKEN false"
