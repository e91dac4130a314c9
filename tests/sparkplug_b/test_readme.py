import re
from pathlib import Path

import sparkplug_b


def test_the_example_of_the_readme_runs(capsys):
    text = (Path(sparkplug_b.__file__).parent / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own file
    out = capsys.readouterr().out
    topics = ["NBIRTH/Line 3", "DBIRTH/Line 3/Press", "DDATA/Line 3/Press", "NDEATH/Line 3"]
    assert all(f"spBv1.0/Plant 1/{topic}" in out for topic in topics)
    assert "kind='rebirth'" in out
