"""processes.arguments: what is hidden from other users."""

import subprocess
import sys

SCRIPT = """
import pathlib, sys
from sqlrs_engine.processes.arguments import hide
hide(sys.argv[2])
print(pathlib.Path("/proc/self/cmdline").read_bytes())
"""


def shown(*arguments: str) -> str:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_an_argument_is_overwritten_wherever_it_is() -> None:
    secret = "postgres://me:s3cret@db/app"
    after = shown("import", secret, "--name", "prod", f"--url={secret}", "postgres://me@db")
    assert "s3cret" not in after
    stars = "*" * len(secret)
    assert f"\\x00import\\x00{stars}\\x00--name\\x00prod\\x00--url={stars}\\x00postgres" in after


def test_nothing_else_is_touched() -> None:
    assert "import\\x00\\x00prod" in shown("import", "", "prod")
    assert "imp\\x00orté" not in shown("import", "é", "portés")
