"""What a site wants is said once, under what a study says; each mistake in it is named."""

from pathlib import Path

import pytest

from ablate.config.clusters import with_profile
from ablate.config.infra import Infra
from ablate.config.study import load_study
from ablate.errors import UserError

TWO = """
default: small
clusters:
  small: {slurm: {partition: cpu, cpus: 2}}
  big:
    devices: 4
    slurm: {partition: gpu, setup: [module load cuda], extra: {nice: 5}}
    kinds: {evaluate: {devices: 1, slurm: {partition: cpu}}}
"""


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "clusters.yaml"
    path.write_text(TWO)
    monkeypatch.setenv("ABLATE_CLUSTERS", str(path))
    return path


def infra(*changes: str) -> Infra:
    return with_profile(load_study("micro/smoke", [f"infra.{one}" for one in changes])).infra


def test_a_study_goes_over_the_profile_and_that_over_what_is_built_in(profiles: Path) -> None:
    found = infra("cluster=big", "slurm.cpus=16", "slurm.extra.mail-type=END", "devices=2")
    assert (found.devices, found.device) == (2, "cpu")
    assert found.slurm.model_dump(exclude_defaults=True) == {
        "cpus": 16,
        "partition": "gpu",
        "setup": ("module load cuda",),
        "extra": {"nice": 5, "mail-type": "END"},
    }
    assert (found.of("evaluate").devices, found.of("evaluate").slurm.partition) == (1, "cpu")
    assert found.of("evaluate").slurm.cpus == 16
    assert found.slurm.timeout_min == 1440


def test_the_default_profile_is_for_studies_that_name_none(profiles: Path) -> None:
    assert infra().options("slurm").partition == "cpu"
    profiles.write_text(TWO.replace("default: small", ""))
    assert infra().options("slurm").partition is None


def test_the_file_is_where_configuration_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABLATE_CLUSTERS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert infra().options("slurm").partition is None
    (tmp_path / "ablate").mkdir()
    (tmp_path / "ablate" / "clusters.yaml").write_text(TWO)
    assert infra().options("slurm").partition == "cpu"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default: smal", r"clusters\.yaml:2: default: no cluster 'smal'; did you mean 'small'"),
        ("cpus: two", r"clusters\.yaml:4: clusters.small.slurm.cpus: .*got 'two'"),
        ("partion: cpu", r"yaml:4: .*partion: unknown key; did you mean 'partition'"),
        ("extra: {output: x}", r"yaml:4: .*small.slurm.extra.output: is set by ablate itself"),
    ],
)
def test_a_mistake_is_named_with_its_place(profiles: Path, text: str, said: str) -> None:
    head, small, *rest = TWO.strip().splitlines()[0], TWO.splitlines()[3], *TWO.splitlines()[4:]
    lines = ["", text if text.startswith("default") else head, "clusters:"]
    lines += [small if text.startswith("default") else f"  small: {{slurm: {{{text}}}}}", *rest]
    profiles.write_text("\n".join(lines))
    with pytest.raises(UserError, match=said):
        infra()


def test_a_profile_that_is_not_there_is_named_with_the_nearest(profiles: Path) -> None:
    with pytest.raises(UserError, match=r"infra.cluster: no 'bigg' in .*did you mean 'big'"):
        infra("cluster=bigg")
    profiles.unlink()
    with pytest.raises(UserError, match=r"infra.cluster is 'big', but there is no file"):
        infra("cluster=big")


def test_what_is_said_to_slurm_is_not_handed_to_steps(profiles: Path) -> None:
    found = infra("cluster=big", "micro_batch_size=4", "kinds.evaluate.micro_batch_size=8")
    handed = found.for_steps()
    assert "slurm" not in str(handed)
    assert "module load" not in str(handed)
    again = Infra.model_validate(handed)
    assert (again.of("finetune").devices, again.of("evaluate").devices) == (4, 1)
    assert again.of("evaluate").micro_batch_size == 8
