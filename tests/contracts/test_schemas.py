from __future__ import annotations

import json
from pathlib import Path

import pytest

from zeroidle.contracts import schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_schemas_in_the_docs_are_current() -> None:
    assert schemas.stale(FOLDER) == []


def test_a_stale_schema_is_found_and_rewritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.main([str(tmp_path)]) == 0
    (tmp_path / "stop.schema.json").write_text("{}")

    assert schemas.main(["--check", str(tmp_path)]) == 1
    assert "stop.schema.json is stale" in capsys.readouterr().err
    assert schemas.main([str(tmp_path)]) == 0
    assert schemas.main(["--check", str(tmp_path)]) == 0


@pytest.mark.parametrize("name", schemas.SCHEMAS)
def test_a_schema_refuses_unknown_fields(name: str) -> None:
    schema = json.loads((FOLDER / f"{name}.schema.json").read_bytes())
    definition = schema["$defs"][schema["$ref"].rpartition("/")[2]]

    assert definition["additionalProperties"] is False
    assert "job_id" in definition["required"]
