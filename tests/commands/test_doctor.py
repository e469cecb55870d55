"""`ablate doctor`: every problem comes with a remedy."""

import json
import shutil
from pathlib import Path

import pytest

from ablate.catalog import encoders as registry
from ablate.catalog import micro_encoders as micro
from ablate.commands import doctor

WEIGHTS = micro.WEIGHTS / "micro"


def test_each_finding_that_is_not_well_has_a_remedy() -> None:
    findings = list(doctor.examine())
    assert {"python", "torch", "threads", "slurm", "disk", "network"} <= {f.check for f in findings}
    assert all(bool(finding.remedy) != (finding.status == "ok") for finding in findings)


def test_json_and_text_agree(capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.show(as_json=True)
    findings = json.loads(capsys.readouterr().out)
    assert code == int(any(one["status"] == "problem" for one in findings))
    doctor.show(as_json=False)
    text = capsys.readouterr().out
    assert all(one["check"] in text for one in findings)


def test_a_home_that_cannot_be_written_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ABLATE_HOME", str(tmp_path / "file" / "below"))
    finding = doctor._disk()
    assert finding.status == "problem"
    assert "ABLATE_HOME" in finding.remedy


def test_weights_are_held_against_their_card(tmp_path: Path) -> None:
    card, path = tmp_path / "x.json", tmp_path / "x.safetensors"
    assert doctor._shipped("x", path, card).status == "problem"
    name = next(spec for spec in registry.specs() if spec.weights.sha256).name
    shutil.copy(WEIGHTS / f"{name}.safetensors", path)
    shutil.copy(WEIGHTS / f"{name}.json", card)
    assert doctor._shipped("x", path, card).status == "ok"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    finding = doctor._shipped("x", path, card)
    assert (finding.status, finding.found) == (
        "problem",
        "the checksum of x.safetensors does not hold",
    )
    assert "ablate bake" in finding.remedy
