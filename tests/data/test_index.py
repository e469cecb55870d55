"""An index on disk gives back what was written, and holds nothing in memory itself."""

import pickle
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.data.chat import Tokens
from ablate.data.index import Index, Row, Writer

Given = tuple[list[tuple[int, bool]], list[str | bytes]]
tokens = st.lists(st.tuples(st.integers(-200, 2**31 - 1), st.booleans()), min_size=1, max_size=6)
images = st.lists(st.text(max_size=5) | st.binary(max_size=5), max_size=3)
chunks = st.lists(st.lists(st.tuples(tokens, images), max_size=4), max_size=4)


def write(folder: Path, chunks: list[list[Given]]) -> Index:
    number = 0
    with Writer(folder) as writer:
        for chunk in chunks:
            rows = []
            for n, (tokens, files) in enumerate(chunk, start=number):
                ids, learn = [i for i, _ in tokens], [b for _, b in tokens]
                encoded = Tokens(np.array(ids, np.int32), np.array(learn, bool))
                rows.append(Row(n, f"é{n}" * (n % 3), files, encoded))
            writer.add(rows)
            number += 10 + len(chunk)  # some rows were bad
        writer.close({"rows": number})
    return Index(folder)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=chunks)
def test_what_is_written_is_read_back(tmp_path: Path, chunks: list[list[Given]]) -> None:
    index = write(tmp_path, chunks)
    rows = [row for chunk in chunks for row in chunk]
    assert len(index) == len(rows)
    assert index.lengths().tolist() == [len(row) for row, _ in rows]
    assert index.images().tolist() == [len(files) for _, files in rows]
    assert index.learnt.tolist() == [sum(learn for _, learn in row) for row, _ in rows]
    for number, (row, files) in enumerate(rows):
        found = index.tokens(number)
        assert list(zip(found.ids.tolist(), found.learn.tolist(), strict=True)) == row
        assert index.files(number) == files
    firsts = np.cumsum([0, *(10 + len(chunk) for chunk in chunks)])
    counted = [
        first + n for first, chunk in zip(firsts, chunks, strict=False) for n in range(len(chunk))
    ]
    assert index.numbers.tolist() == counted
    assert [index.identity(n) for n in range(len(rows))] == [f"é{n}" * (n % 3) for n in counted]


def test_a_worker_is_given_the_folder_not_the_arrays(tmp_path: Path) -> None:
    index = write(tmp_path, [[([(7, True)] * 100_000, [])]])
    sent = pickle.dumps(index)
    assert len(sent) < 1000
    assert pickle.loads(sent).tokens(0).ids.tolist() == [7] * 100_000


def test_the_arrays_are_mapped_and_cannot_be_written_to(tmp_path: Path) -> None:
    index = write(tmp_path, [[([(7, True)], ["a.png"])]])
    mapped = Path("/proc/self/maps").read_text()
    assert str(tmp_path / "ids.bin") in mapped
    assert not index.learnt.flags.writeable
