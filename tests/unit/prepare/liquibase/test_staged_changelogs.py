"""The files of a client's changelog, staged for Liquibase."""

from pathlib import Path

import pytest
from support.remote_client import RemoteClient


@pytest.mark.parametrize("root", ["/c/app", r"C:\work\app"])
def test_a_staged_request_has_staged_paths_and_its_files_go_with_the_last_user(
    tmp_path: Path, root: str
) -> None:
    client = RemoteClient(tmp_path, {"db/m.xml": "<x/>"}, root)
    join = "\\" if "\\" in root else "/"
    request = client.sync(
        "--changelog-file", f"{root}{join}db{join}m.xml", "-Dplace=/c/app/db", work_dir=root
    )
    assert request.source_manifest is not None
    staged = client.staged.open(request, request.source_manifest)
    again = client.staged.open(request, request.source_manifest)
    here = staged.root
    assert staged.request.liquibase_args == (
        "update",
        "--changelog-file",
        f"{here}/db/m.xml",
        "-Dplace=/c/app/db",
    )
    assert staged.request.work_dir == str(here)
    assert (here / "db/m.xml").read_text() == "<x/>"
    assert staged.client_text(f"{here}/db/m.xml") == f"{root}/db/m.xml"
    assert again.root == here
    staged.close()
    staged.close()
    assert here.is_dir()
    again.close()
    assert not here.exists()
