import re
from pathlib import Path

import sparkplug_b


def test_the_hosts_example_of_the_readme_runs(capsys):
    text = (Path(sparkplug_b.__file__).parent / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[1]
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - our own file
    assert capsys.readouterr().out.splitlines() == [
        "spBv1.0/STATE/Hub",
        "None ['Node Control/Rebirth', 'Speed'] [False, 70]",
        "spBv1.0/Plant 1/NCMD/Line 3",
        "None",
        "before_birth",
        "spBv1.0/STATE/Hub 1",
    ]
