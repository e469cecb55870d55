"""No secret of the environment is found in what a run leaves behind."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import core_fakes
import pytest

from ablate.config.study import Study
from ablate.driver.scheduler import drive
from ablate.redaction import redact
from ablate.worker.context import StepContext

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
    assert redact("abcdefghijkl abcdefgh false") == "$B_TOKEN $A_TOKEN false"


@pytest.mark.parametrize(
    "name", ["MY_PASS", "DB_URL", "GITHUB_PAT", "MYSQL_PWD", "SENTRY_DSN", "BASIC_AUTH", "PASS"]
)
def test_the_names_that_secrets_have_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "correct-horse")
    assert redact("tried correct-horse twice") == f"tried ${name} twice"


@pytest.mark.parametrize("name", ["PWD", "OLDPWD", "PATH", "COMPASS", "PATTERN", "HF_HUB_URL"])
def test_other_names_are_no_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/a/folder")
    assert redact("in /a/folder") == "in /a/folder"


def test_the_password_of_an_address_is_secret_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE", "redis://me:very%20secret@host:6379/0")
    assert redact("no login with 'very secret'") == "no login with '$STORE'"


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("GET https://me:hunter2@host/a 401", "GET https://***@host/a 401"),
        ("clone https://abc123@host/a.git", "clone https://***@host/a.git"),
        (
            "https://host/a?size=2&access_token=abc&b=1",
            "https://host/a?size=2&access_token=***&b=1",
        ),
        ("+ export MY_PASS=hunter22", "+ export MY_PASS=***"),
        ("+ export MY_PASS='hun ter 22'", "+ export MY_PASS=***"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        (f"hf_{'a' * 34} refused", "*** refused"),
    ],
)
def test_what_looks_like_a_secret_needs_no_variable(told: str, kept: str) -> None:
    assert redact(told) == kept


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/a@b and mail me@host",
        "pad_token=<pad> max_tokens=128, NUM_WORKERS=4 TOKENIZERS_PARALLELISM=false",
        "step 3 loss 0.123 tokens/s 12345 key=0123456789abcdef",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
