"""The processes of a job find each other, do what the first one says, and end together."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import RAISED, codes, forked
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import UserError
from ablate.files import write_json
from ablate.worker import process_group as team_file
from ablate.worker.process_group import IncompleteError, ProcessGroup, StepRanks


def started(folder: Path, tasks: int, do: Callable[[ProcessGroup], None]) -> list[int]:
    """Processes that meet in `folder` and then each `do` something; their numbers."""
    return [started_as(task, tasks, folder, do) for task in range(tasks)]


def started_as(task: int, tasks: int, folder: Path, do: Callable[[ProcessGroup], None]) -> int:
    """One of them."""
    team = ProcessGroup(task, tasks)

    def meet_and_do() -> None:
        team.meet(folder)
        do(team)

    return forked(meet_and_do)


def test_values_of_all_come_together_and_the_leaders_go_out(tmp_path: Path) -> None:
    def do(team: ProcessGroup) -> None:
        world = team.world(3, 1)
        assert world
        assert world.rank == world.local == team.task
        big = "x" * 3_000_000
        gathered = world.gather([world.rank, big])
        assert gathered == ([[rank, big] for rank in range(3)] if world.leads else [])
        assert world.agree({"by": world.rank}) == {"by": 0}
        seen = tmp_path / "made"
        with world.leader_first():
            assert world.leads or seen.exists()
            time.sleep(0.2 if world.leads else 0)
            seen.touch()
        if team.leads:
            team.close(in_order=True)
        else:
            assert list(team.turns()) == []

    assert codes(started(tmp_path / "team", 3, do)) == [0, 0, 0]


def test_turns_are_taken_in_order_until_the_leader_is_done(tmp_path: Path) -> None:
    def do(team: ProcessGroup) -> None:
        if team.leads:
            for turn in ({"n": 1}, {"n": 2}):
                team.begin(turn)
            team.close(in_order=True)
        else:
            assert list(team.turns()) == [{"n": 1}, {"n": 2}]

    assert codes(started(tmp_path / "team", 2, do)) == [0, 0]


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_one_that_dies_takes_the_others_along_whatever_they_are_at(
    tmp_path: Path, dead: int
) -> None:
    def do(team: ProcessGroup) -> None:
        if team.task == dead:
            os._exit(9)
        time.sleep(60)

    found = codes(started(tmp_path / "team", 3, do))
    assert found[dead] == 9
    assert all(code in {1, RAISED} for task, code in enumerate(found) if task != dead)


@pytest.mark.parametrize("error", [("OSError", "no such file"), None])
def test_the_leaders_last_word_is_of_the_follower_that_failed_or_died(
    tmp_path: Path, error: tuple[str, str] | None
) -> None:
    def do(team: ProcessGroup) -> None:
        if team.leads:
            with team.at_work(lambda *of: write_json(tmp_path / "said.json", of)):
                team.begin({})
                time.sleep(60)
        assert next(team.turns()) == {}
        if error:
            team.fail(error)
        os._exit(9)

    assert codes(started(tmp_path / "team", 2, do)) == [1, 1 if error else 9]
    words = "failed: no such file" if error else "died"
    said = [list(error) if error else None, f"process 1 of 2 {words}"]
    assert team_file.read_json(tmp_path / "said.json") == said


def test_a_leader_that_gave_up_ends_the_others_at_once(tmp_path: Path) -> None:
    def do(team: ProcessGroup) -> None:
        if team.leads:
            team.close(in_order=False)
        time.sleep(0.5 if team.leads else 60)

    assert codes(started(tmp_path / "team", 2, do)) == [0, 1]


def test_children_of_a_dead_leader_do_not_keep_its_followers_alive(tmp_path: Path) -> None:
    def do(team: ProcessGroup) -> None:
        if not team.leads:
            time.sleep(60)
        if os.fork() == 0:  # as a data loader
            time.sleep(20)
            (tmp_path / "outlived").touch()
            os._exit(0)
        os._exit(9)

    assert codes(started(tmp_path / "team", 2, do)) == [9, 1]
    assert not (tmp_path / "outlived").exists()


def test_one_that_does_not_come_is_waited_for_no_longer_than_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_file, "WAIT", 0.3)
    with pytest.raises(IncompleteError, match="only 1 of the job's 2 processes came up in 0 s"):
        ProcessGroup(0, 2).meet(tmp_path)
    with pytest.raises(IncompleteError, match="process 1 of 2 did not find its leader"):
        ProcessGroup(1, 2).meet(tmp_path / "empty")


def test_strangers_and_what_an_earlier_attempt_left_are_no_leader_and_no_follower(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        old = {"host": "127.0.0.1", "port": gone.getsockname()[1], "token": "old"}
    write_json(tmp_path / "team" / "leader.json", old)

    def do(team: ProcessGroup) -> None:
        if team.leads:
            team.close(in_order=True)
        else:
            assert list(team.turns()) == []

    follower = started_as(1, 2, tmp_path / "team", do)
    time.sleep(0.2)
    leader = started_as(0, 2, tmp_path / "team", do)
    assert codes([leader, follower]) == [0, 0]

    leader = started_as(0, 2, tmp_path / "other", do)
    while not (tmp_path / "other" / "leader.json").exists():
        time.sleep(0.01)
    place = team_file.read_json(tmp_path / "other" / "leader.json")
    with socket.create_connection((place["host"], place["port"])) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    assert place["host"] == "127.0.0.1"
    follower = started_as(1, 2, tmp_path / "other", do)
    assert codes([leader, follower]) == [0, 0]
    assert (tmp_path / "other").stat().st_mode & 0o077 == 0


@given(each=st.integers(1, 5), nodes=st.integers(1, 4), data=st.data())
def test_a_world_is_the_first_devices_of_the_first_nodes(
    each: int, nodes: int, data: st.DataObject
) -> None:
    devices, on = data.draw(st.integers(1, each)), data.draw(st.integers(1, nodes))
    worlds = [
        ProcessGroup(task, each * nodes, nodes).world(devices, on) for task in range(each * nodes)
    ]
    found = [(task, world) for task, world in enumerate(worlds) if world]
    assert [world.rank for _, world in found] == list(range(devices * on))
    for task, world in found:
        assert divmod(task, each) == (world.rank // devices, world.local)
        assert world.size == devices * on


@given(each=st.integers(1, 4), nodes=st.integers(1, 4), more=st.booleans())
def test_a_world_larger_than_the_job_is_refused(each: int, nodes: int, more: bool) -> None:
    asked: Any = (each + 1, nodes) if more else (each, nodes + 1)
    with pytest.raises(UserError, match="a world of another size would be another batch"):
        ProcessGroup(0, each * nodes, nodes).world(*asked)


def test_a_world_of_one_needs_nobody() -> None:
    world = StepRanks()
    assert world.agree(3) == 3
    assert world.gather(3) == [3]
    with world.leader_first():
        pass
