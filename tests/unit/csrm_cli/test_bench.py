"""`csrm bench scoring` as a user runs it, on a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from csrm_cli.main import run


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "csrm_cli.main", "bench", "scoring", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


def test_it_writes_the_table_and_recommends_settings(tmp_path: Path) -> None:
    file = tmp_path / "new" / "scoring.json"
    arguments = ["--shape", "tiny", "--quick", "--minutes", "0.1", "--device", "cpu", "--threads", "1"]
    arguments += ["--products", "7", "--products", "3", "--concurrency", "2"]
    arguments += ["--seconds-per-cell", "0.5", "--longest-cell", "5"]
    done = bench(*arguments, "--json", str(file))
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_bytes())
    assert report["rows"][0]["scorer"] == "csrm-full"
    assert report["rows"][0]["kendall_vs_fp32"] > 0.5
    cells = {(row["products"], row["concurrency"]) for row in report["rows"]}
    assert (3, 1) in cells and cells <= {(3, 1), (3, 2), (7, 1), (7, 2)}
    assert report["machine"]["peak_gflops"].keys() == {report["rows"][0]["precision"]}
    assert report["recommended"]["windows"].keys() == {"csrm-full"}
    assert "csrm serve --precision" in done.stdout
    assert "of 0.5 s or one query a caller; what would take more than 5 s is left out" in " ".join(
        done.stdout.split()
    )


def test_what_cannot_be_measured_is_an_exit_code_and_one_sentence() -> None:
    done = bench("--precision", "int4")
    assert done.returncode == 2
    assert "Unknown precision int4: choose fp32, bf16 or int8" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shape", "tiny", "--precision", "int8", "--minutes", "0.1"], "only the lean pass knows int8"),
        (["--shape", "huge"], "choose one of qwen3-0.6b"),
        (["--longest-cell", "0"], "--longest-cell"),
        (["--device", "tpu"], "choose auto, cpu or cuda"),
        (["--bundle", "no-such-bundle"], "There is no bundle no-such-bundle"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: another one takes seconds to import torch."""
    monkeypatch.setattr(sys, "argv", ["csrm", "bench", "scoring", "--threads", "1", *arguments])
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    errors = capsys.readouterr().err
    assert said in errors and "Traceback" not in errors
