"""Each proxy where the right number is known."""

import json
from pathlib import Path

import doc_examples
import numpy as np
import pytest
from in_process import ablate
from packages import install_package

from ablate import proxies
from ablate.errors import UserError
from ablate.proxies import Evidence, View
from ablate.proxies._interface import Floats, joined, left_out
from ablate.proxies.cka import cka
from ablate.proxies.gromov_wasserstein import gromov_wasserstein

RANDOM = np.random.default_rng(0)
IMAGES, CHANNELS, WIDTH = 60, 6, 5


def view(pooled: Floats, grid: Floats | None = None) -> View:
    seen = RANDOM.normal(size=(8, 4, 4, 3)) if grid is None else grid
    return View(pooled, seen, seen[:, :, ::-1])


def known(*views: View, text: Floats | None = None) -> Evidence:
    """Of images whose texts have nothing to do with them, if no text is given."""
    words = RANDOM.random((IMAGES, 7)) < 0.5
    return Evidence(views, RANDOM.normal(size=(IMAGES, WIDTH)) if text is None else text, words)


SOME = RANDOM.normal(size=(IMAGES, CHANNELS))


def test_each_file_is_a_proxy_with_a_name_for_tables() -> None:
    assert len(proxies.names()) == 7
    for name in proxies.names():
        found = proxies.find(name)
        assert found.title
        assert found.short.isupper()
        assert len(found.short) <= 5


def test_ridge_leaves_out_what_it_predicts() -> None:
    x = joined([view(SOME), view(RANDOM.normal(size=(IMAGES, 3)))])
    y = x @ RANDOM.normal(size=(9, 2)) + 0.3 * RANDOM.normal(size=(IMAGES, 2))
    guessed = left_out(x, y)
    errors = []
    for ridge in 10.0 ** np.arange(-4.0, 3.0):  # one by one, by hand
        strength = ridge * np.linalg.eigvalsh(x @ x.T).clip(min=0.0).mean()
        alone = []
        for n in range(IMAGES):
            rest = np.arange(IMAGES) != n
            mean, centre = y[rest].mean(0), x[rest].mean(0)
            a = x[rest] - centre
            slopes = np.linalg.solve(a.T @ a + strength * np.eye(9), a.T @ (y[rest] - mean))
            alone.append((mean, (x[n] - centre) @ slopes))
        means, told = (np.array(part) for part in zip(*alone, strict=True))
        errors.append((float(((means + told - y) ** 2).mean()), told))
    nearest = min(errors, key=lambda one: one[0])[1]
    np.testing.assert_allclose(guessed, nearest, atol=1e-6)


def test_alignment_is_one_where_the_text_is_a_line_in_the_features_and_none_by_chance() -> None:
    line = SOME @ RANDOM.normal(size=(CHANNELS, WIDTH))
    alignment = proxies.find("alignment")
    assert alignment.score(known(view(SOME), text=line)) == pytest.approx(1.0, abs=1e-3)
    assert abs(alignment.score(known(view(SOME))) or 0.0) < 0.3


def test_a_linear_probe_tells_words_that_are_in_the_features_and_no_others() -> None:
    probe = proxies.find("linear_probe")
    words = SOME[:, :3] > 0.0
    told = Evidence([view(SOME)], SOME, words)
    assert (probe.score(told) or 0.0) > 0.9
    assert probe.score(known(view(SOME))) == pytest.approx(0.5, abs=0.12)
    assert probe.score(Evidence([view(SOME)], SOME, words[:, :0])) is None


def test_cka_knows_no_rotation_and_is_not_taken_in_by_few_images() -> None:
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(CHANNELS, CHANNELS)))
    assert cka(SOME, 3.0 * SOME @ rotation + 1.0) == pytest.approx(1.0)
    wide = [cka(*RANDOM.normal(size=(2, 20, 500))) for _ in range(40)]
    assert np.mean(wide) == pytest.approx(0.0, abs=0.03)  # 0.96 with its bias


def test_gromov_wasserstein_is_zero_of_the_same_shape_whoever_is_paired_with_whom() -> None:
    distances = np.abs(SOME[:, :1] - SOME[:, :1].T)
    order = RANDOM.permutation(IMAGES)
    assert gromov_wasserstein(distances, distances) == pytest.approx(0.0, abs=1e-9)
    turned = gromov_wasserstein(distances, distances[np.ix_(order, order)])
    paired = float(((distances - distances[np.ix_(order, order)]) ** 2).mean())
    assert 0.0 <= turned < paired


def test_correspondence_finds_a_thing_where_the_mirror_puts_it() -> None:
    places = RANDOM.normal(size=(8, 4, 4, 16))
    correspondence = proxies.find("correspondence")
    assert correspondence.score(known(view(SOME, places))) == 1.0
    blind = View(SOME, places, RANDOM.normal(size=(8, 4, 4, 16)))
    assert (correspondence.score(known(blind)) or 0.0) < 0.6  # 9 of 16 places at most are near


def test_the_early_loss_is_of_the_first_twentieth_alone() -> None:
    early = proxies.find("early_loss")
    losses = [9.0, 5.0, 3.0, 1.0, *[0.0] * 76]  # 80 steps: four, of which the last two
    assert early.score(Evidence([], SOME, SOME > 0, losses)) == -2.0
    assert early.score(known(view(SOME))) is None


def test_a_smaller_model_s_score_stands_for_itself() -> None:
    small = proxies.find("small_llm")
    assert small.score(Evidence([], SOME, SOME > 0, smaller=41.0)) == 41.0
    assert small.score(known(view(SOME))) is None


def test_the_example_of_the_docs_is_listed_and_counts_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doc_examples.install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    rows = json.loads(ablate("list", "proxies", "--json").out)
    assert {row["proxy"] for row in rows} == set(proxies.names())
    (row,) = [row for row in rows if row["proxy"] == "effective_rank"]
    assert (row["title"], row["known"]) == ("effective rank", "before training")
    even, _ = np.linalg.qr(SOME - SOME.mean(0))  # of mean 0, and as far in each direction
    assert proxies.score("effective_rank", known(view(even))) == pytest.approx(CHANNELS)
    flat = np.repeat(SOME[:, :1], CHANNELS, axis=1)
    assert proxies.score("effective_rank", known(view(flat))) == pytest.approx(1.0)


def test_another_package_s_proxy_is_found_and_blamed_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from ablate.proxies import Proxy\n\n\nclass Bright(Proxy):\n"
        "    title, short = 'brightness', 'LIGHT'\n\n"
        "    def score(self, known):\n        return float(known.views[0].pooled.mean())\n"
    )
    offers = {
        "ablate.proxies": {"bright": "lights.bright:Bright", "dim": "lights.bright:dict"},
    }
    install_package(tmp_path, "lights", {"bright": source + "\n\ndict = dict\n"}, offers)
    monkeypatch.syspath_prepend(tmp_path)
    assert "bright" in proxies.names()
    assert proxies.score("bright", known(view(SOME))) == pytest.approx(SOME.mean())
    with pytest.raises(UserError, match=r"proxy 'bright' of lights .*bright\.py:8"):
        proxies.score("bright", Evidence([], SOME, SOME > 0))
    with pytest.raises(UserError, match=r"proxy 'dim' of lights .* cannot judge .* is no ablate"):
        proxies.find("dim")
    with pytest.raises(UserError, match="did you mean 'alignment'"):
        proxies.find("alignmen")
