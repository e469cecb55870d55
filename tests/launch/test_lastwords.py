"""Of all that a log says at its end, the line that tells the cause is the one that is told."""

import pytest

from ablate.launch.slurm.last_words import failed_set_up, killed_for_it, log_tail

ENDED = [
    "srun: error: fake1: task 0: Exited with exit code 2",
    "srun: error: n1: tasks 0-3: Exited with exit code 1",
    "srun: Terminating StepId=7.0",
    "slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***",
    "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
    "srun: First task exited 60s ago",
    "srun: StepId=7.0 tasks 1-3: running",
]


@pytest.mark.parametrize(
    "cause",
    [
        "slurmstepd: error: execve(): /nope/python: No such file or directory",
        "ModuleNotFoundError: No module named 'x'",
        "srun: error: fake1: task 0: Segmentation fault",
        "srun: error: Unable to create step for job 7: Invalid generic resource (gres)",
    ],
)
def test_what_slurm_adds_once_a_process_has_ended_does_not_hide_the_cause(cause: str) -> None:
    assert log_tail("\n".join(["one", cause, "", *ENDED, ""])) == cause


def test_where_there_is_nothing_else_that_is_told() -> None:
    assert log_tail("\n".join(ENDED[:3])) == ENDED[2]
    assert log_tail(" \n") == ""


def test_a_set_up_line_is_quoted_with_the_words_before_it_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SITE_TOKEN", "hush-hush")
    log = "one\n/spool/slurm_script: line 22: login: refused\nset-up line failed: login hush-hush\n"
    assert failed_set_up(log + "srun: done") == "`login $SITE_TOKEN`: login: refused"
    assert log_tail("one\nno such key: hush-hush") == "no such key: $SITE_TOKEN"
    assert failed_set_up("set-up line failed: exit 7\n") == "`exit 7`"
    assert failed_set_up("bash: module: command not found\n") is None


@pytest.mark.parametrize(
    ("state", "said", "killed"),
    [
        ("OUT_OF_MEMORY", "", True),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event in StepId=1.0.", True),
        ("FAILED", "srun: error: fake2: task 0: Out Of Memory\noom-kill event(s)", True),
        ("FAILED", "Segmentation fault", False),
    ],
)
def test_a_job_that_was_killed_for_its_memory_is_known(state: str, said: str, killed: bool) -> None:
    assert killed_for_it(state, said) is killed
