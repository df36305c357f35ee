"""The options of PostgreSQL's programs, as their own help tells them."""

import re
import subprocess

import pytest

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.runs.program_options import HOST_WORDS, PROGRAMS

pytestmark = pytest.mark.postgres

# "  -s, --scale=NUM   text", "  --role=ROLENAME   text", "  -v, --set=, --variable=NAME=VALUE"
_OPTION = re.compile(r"^ +(?:-(?P<letter>\w), +)?--(?P<word>[a-z-]+)(?P<value>\[?=)?", re.MULTILINE)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_option_with_a_value_is_known_as_one(name: str, distribution: Distribution) -> None:
    program = distribution.bin_dir / name
    if not program.exists():
        pytest.skip(f"PostgreSQL {distribution.version} here has no {name}")
    help_text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    known = PROGRAMS[name]
    words = {*known.words.split(), *known.database_words.split(), *HOST_WORDS.split()}
    letters = {*known.letters, *known.database_letters, *known.host_letters}
    found = _OPTION.finditer(help_text.stdout)
    # Nothing runs with --help; pgbench's -d took no value before version 16.
    options = [option for option in found if option["word"] not in ("help", "debug")]
    assert options
    for option in options:
        takes_value = option["value"] == "="
        assert (option["word"] in words) is takes_value, option[0]
        if option["letter"]:
            assert (option["letter"] in letters) is takes_value, option[0]
