"""The cache of changelogs, over real files."""

import time
from dataclasses import replace

import pytest
from support.liquibase_fakes import plan

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileDigests
from sqlrs_engine.prepare.liquibase.changelog import Changelog
from sqlrs_engine.prepare.liquibase.changelog_cache import ChangelogCache


@pytest.fixture
def files(tmp_path):
    root = tmp_path / "work"
    (root / "all").mkdir(parents=True)
    (root / "c.xml").write_text("a changelog")
    (root / "all" / "1.sql").write_text("one")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "3.sql").write_text("three")
    return root


def changelog(root):
    digest = FileDigests().digest
    uris = {name: (root / name).as_uri() for name in ("c.xml", "all/1.sql")}
    return Changelog.from_json(
        plan(
            locations=[str(root)],
            files=[
                {"uri": uri, "path": name, "digest": digest(root / name)[0]}
                for name, uri in uris.items()
            ],
            looked=[
                {"path": "c.xml", "directory": False, "found": [uris["c.xml"]]},
                {"path": "all", "directory": True, "found": [uris["all/1.sql"]]},
                {"path": "optional.xml", "directory": False, "found": []},
            ],
        )
    )


@pytest.fixture
def cache(tmp_path):
    return ChangelogCache(tmp_path / "changelogs", FileDigests().digest)


def kept(cache, files, since=None):
    made = changelog(files)
    defaults = cache.digests([files / "liquibase.properties"])
    cache.put(["key"], made, defaults, time.time() + 60 if since is None else since)
    return made


def test_a_changelog_is_kept_while_nothing_changes(cache, files, tmp_path):
    made = kept(cache, files)
    other = ChangelogCache(tmp_path / "changelogs", FileDigests().digest)  # of the next engine
    known = other.get(["key"])
    assert known is not None
    assert known[0] == made
    assert {read.path for read in known[1]} == set(made.files)
    assert other.get(["another"]) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "c.xml").write_text("another"),
        lambda root: (root / "c.xml").unlink(),
        lambda root: (root / "all" / "2.sql").write_text("two"),
        lambda root: (root / "all" / "1.sql").unlink(),
        lambda root: (root / "optional.xml").write_text("there"),
        lambda root: (root / "all" / "link").symlink_to(root.parent / "linked"),
        lambda root: (root / "liquibase.properties").write_text("contexts=x"),
    ],
)
def test_a_changed_file_or_name_invalidates_a_changelog(cache, files, change):
    kept(cache, files)
    change(files)
    assert cache.get(["key"]) is None


def test_a_file_rewritten_with_its_content_keeps_a_changelog_valid(cache, files):
    kept(cache, files)
    (files / "c.xml").write_text("a changelog")
    assert cache.get(["key"]) is not None


def test_a_changelog_that_changed_while_it_was_read_is_not_kept(cache, files):
    kept(cache, files, since=time.time() - 60)  # a directory is newer than that
    assert cache.get(["key"]) is None
    made = changelog(files)
    (files / "optional.xml").write_text("there")
    cache.put(["key"], made, {}, time.time() + 60)
    assert cache.get(["key"]) is None


def test_a_damaged_entry_is_ignored(cache, files, tmp_path):
    kept(cache, files)
    (entry,) = (tmp_path / "changelogs").iterdir()
    for text in ("", "{}", '{"changelog": 1}', "[]"):
        entry.write_text(text)
        assert cache.get(["key"]) is None


def test_a_changelog_out_of_an_archive_is_not_kept(cache, files):
    made = replace(changelog(files), archived=True)
    cache.put(["key"], made, {}, time.time() + 60)
    assert cache.get(["key"]) is None


def test_directory_links_that_lead_back_are_followed_once(cache, files):
    (files / "all" / "round").symlink_to(files)
    kept(cache, files)
    assert cache.get(["key"]) is not None


def test_a_missing_file_fails_the_check_of_a_changelog(cache, files):
    made = changelog(files)
    (files / "c.xml").unlink()
    with pytest.raises(InvalidArgument):
        cache.check(made)
