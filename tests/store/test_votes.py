"""Votes on two answers: kept line by line, and counted whichever stood on the left."""

from pathlib import Path

from ablate.home import Home
from ablate.store.votes import Reply, Tally, Vote, keep_vote, tallies, votes

A, B = Reply("s:a", (), "two"), Reply("s:b", ("sam@64", "x@1"), 'three "3"\n<b>')
B_MASKED = "s:b without sam@64, x@1"


def test_a_vote_is_read_as_it_was_kept(tmp_path: Path) -> None:
    assert tallies(tmp_path / "home") == []
    vote = Vote.on("how many", b"picture", (A, B), 1, blind=True)
    keep_vote(tmp_path / "home", vote)
    assert list(votes(tmp_path / "home")) == [vote]
    (tmp_path / "picture.png").write_bytes(b"picture")
    assert Vote.on("how many", tmp_path / "picture.png", (A, B), 1, blind=True) == vote


def test_a_vote_behind_one_that_a_kill_cut_short_is_not_lost(tmp_path: Path) -> None:
    first, second = (Vote.on(question, b"", (A, B), 0, blind=True) for question in "qr")
    keep_vote(tmp_path, first)
    with Home(tmp_path).votes.open("a") as file:
        file.write('{"question": "cut sho')
    keep_vote(tmp_path, second)
    assert list(votes(tmp_path)) == [first, second]


def test_votes_count_for_a_candidate_on_either_side(tmp_path: Path) -> None:
    for replies, better in (((A, B), 0), ((B, A), 1), ((B, A), 0), ((A, B), None)):
        keep_vote(tmp_path, Vote.on("q", b"", replies, better, blind=better is None))
    unmasked = B._replace(masked=())
    keep_vote(tmp_path, Vote.on("q", b"", (A, unmasked), 1, blind=False))
    with Home(tmp_path).votes.open("a") as file:
        file.write('{"question": "cut sho\n[]\n')
    assert tallies(tmp_path) == [
        Tally("s:a", B_MASKED, 2, 1, 1, 1),
        Tally("s:a", "s:b", 0, 1, 0, 0),
    ]
