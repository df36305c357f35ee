import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from sqlrs_engine.config import Config
from sqlrs_engine.config.schema import build, leaves
from sqlrs_engine.errors import InvalidArgument, NotFound

DOCUMENT = Path(__file__).parents[3] / "docs" / "configuration.md"
LEAVES = dict(leaves(build()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def config(file: Path) -> Config:
    return Config(file)


# Reading


def test_without_a_file_the_defaults_are_in_force(config: Config) -> None:
    assert config.overrides() == {}
    assert config.get("log.level", effective=True) == "debug"
    assert config.get("cache.capacity", effective=True) == {
        "maxBytes": 0,
        "reserveBytes": None,
        "highWatermark": 0.9,
        "lowWatermark": 0.8,
        "minStateAge": "10m",
    }


def test_get_sees_overrides_unless_asked_for_what_is_in_force(config: Config) -> None:
    with pytest.raises(NotFound, match=r"nothing is set at log\.level: its default"):
        config.get("log.level")

    config.set("log.level", "warn")

    assert config.get("log.level") == "warn"
    assert config.get("log") == {"level": "warn"}
    assert config.effective()["log"] == {"level": "warn"}


@pytest.mark.parametrize("effective", [False, True])
def test_an_unknown_path_is_not_found(config: Config, effective: bool) -> None:
    with pytest.raises(NotFound, match=r"path not found: nothing is set at no\.such\[0\]\.path$"):
        config.get("no.such[0].path", effective)


def test_a_returned_value_is_the_callers_own_copy(config: Config) -> None:
    config.set("mine", {"a": [1]})
    config.get("mine")["a"].append(2)
    config.effective()["mine"]["a"].append(2)
    config.overrides()["mine"]["a"].append(2)
    config.schema()["properties"].clear()

    assert config.get("mine") == {"a": [1]}
    assert config.schema()["properties"]


# Setting


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("log.level", "info"),
        ("log.level", "  WARN "),
        ("log.level", None),
        ("snapshot.backend", "reflink"),
        ("container.runtime", "podman"),
        ("images.pull", "always"),
        ("images.registries", {"docker.io": {"mirrors": ["harbor.lan/hub", "[::1]:5000"]}}),
        ('images.registries["registry.lan:5000"].insecure', True),
        ("orchestrator.jobs.maxIdentical", 0),
        ("orchestrator.jobs.workers", 1),
        ("cache.capacity.maxBytes", 2**50),
        ("cache.capacity.reserveBytes", 0),
        ("cache.capacity.highWatermark", 1),
        ("cache.capacity.lowWatermark", 0.01),
        ("cache.capacity.minStateAge", "1h30m"),
        ("instances.ttl", "0"),
        ("instances.ports.first", 29999),
        ("postgres.osUser", "postgres"),
        ("postgres.roles", ["web_anon", "Domain Users", "bücher", "r" * 63]),
        ("postgres.roles", []),
        ("postgres.roles[0]", "app"),
        ("postgres.locale", "en_US.utf8"),
        ("postgres.locale", "sr_RS.UTF-8@latin"),
        ("postgres.settings", {"work_mem": "64MB", "jit": True, "seq_page_cost": 1.5}),
        ("postgres.settings.work_mem", "64MB"),
        ("cache.capacity", {"lowWatermark": 0.1, "highWatermark": 0.2}),
        ("cache", {}),
        ("unheard.of", [1, None, "x", {"y": 1.0}]),
        ("log.colour", "blue"),
    ],
)
def test_a_valid_value_is_kept_as_given(config: Config, path: str, value: Any) -> None:
    config.set(path, value)

    assert config.get(path) == value
    assert type(config.get(path)) is type(value)


@pytest.mark.parametrize(
    ("path", "value", "details"),
    [
        ("log.level", "loud", "log.level must be one of debug, info, warn, error, null"),
        ("log.level", 1, "log.level must be a string or null"),
        ("snapshot.backend", "Copy", "snapshot.backend must be one of auto, overlay, btrfs, .*"),
        ("container.runtime", " auto", "container.runtime must be one of auto, docker, podman.*"),
        ("orchestrator.jobs.maxIdentical", -1, r".*maxIdentical must be at least 0"),
        ("orchestrator.jobs.maxIdentical", 1.0, r".*maxIdentical must be a whole number or null"),
        ("orchestrator.jobs.maxIdentical", True, r".*maxIdentical must be a whole number or null"),
        ("orchestrator.jobs.workers", 0, r".*workers must be at least 1"),
        ("cache.capacity.highWatermark", 0, r".*highWatermark must be greater than 0"),
        ("cache.capacity.highWatermark", 1.01, r".*highWatermark must be at most 1"),
        ("cache.capacity.highWatermark", True, r".*highWatermark must be a number or null"),
        ("cache.capacity.lowWatermark", 0.9, r".*lowWatermark must be less than .*\(0.9\)"),
        ("cache.capacity.highWatermark", 0.8, r".*lowWatermark must be less than .*\(0.8\)"),
        ("cache.capacity.minStateAge", "soon", r".*minStateAge must be a duration.*"),
        ("cache.capacity.minStateAge", "-1s", r".*minStateAge must be a duration.*"),
        ("instances.ttl", 3600, "instances.ttl must be a string or null"),
        ("instances.ports.first", 80, "instances.ports.first must be at least 1024"),
        ("instances.ports.first", 30000, r"instances.ports.first must not be above .*"),
        (
            "instances.tll",
            "1h",
            r"instances has an unknown field 'tll'; known fields: ttl, ports, maxRunning",
        ),
        ("postgres.osUser", "", "postgres.osUser must not be empty"),
        ("postgres.osUser", "a b", r"postgres.osUser must match \^.*"),
        ("postgres.roles", "app", "postgres.roles must be a list or null"),
        ("postgres.roles", ["app", "app"], "postgres.roles must not have an item twice"),
        ("postgres.roles", [""], r"postgres.roles\[0\] must not be empty"),
        ("postgres.roles", ["a", 1], r"postgres.roles\[1\] must be a string"),
        ("postgres.roles", ["a\nb"], r"postgres.roles\[0\] must match .*"),
        ("postgres.roles", ["a\n"], r"postgres.roles\[0\] must match .*"),
        (
            "postgres.roles",
            ["pg_monitor"],
            ".*PostgreSQL reserves the name pg_monitor: choose another",
        ),
        ("postgres.roles", ["public"], ".*PostgreSQL reserves the name public: choose another"),
        ("postgres.roles", ["none"], ".*PostgreSQL reserves the name none: choose another"),
        ("postgres.roles", ["sqlrs"], ".*the role sqlrs exists in every state: leave it out"),
        ("postgres.roles[0]", "postgres", ".*the role postgres exists in every state: .*"),
        ("postgres.roles", ["ü" * 32], ".*names have at most 63 bytes: shorten ü+…"),
        ("postgres.locale", "", "postgres.locale must match .*"),
        ("postgres.locale", "../etc", "postgres.locale must match .*"),
        ("postgres.locale", "en_US.utf8\n", "postgres.locale must match .*"),
        ("postgres.locale", "--pwfile=x", "postgres.locale must match .*"),
        (
            "postgres.settings.port",
            1,
            'postgres.settings: the engine sets "port" itself: leave it out',
        ),
        ("postgres.settings", {"a b": 1}, "postgres.settings: .* is not a setting's name"),
        ("postgres.settings.HBA_FILE", "x", '.*: the engine sets "HBA_FILE" itself.*'),
        ("postgres.settings", {"Ssl_Key_File": "x"}, '.*the engine sets "Ssl_Key_File" itself.*'),
        ("postgres.settings", {"jit": 1, "JIT": 0}, '.*: "JIT" occurs twice, .*'),
        ("postgres.settings", {"jit\n": 1}, "postgres.settings: .* is not a setting's name"),
        ("postgres.settings.jit", "on\n", "postgres.settings.jit must match .*"),
        ("postgres.osUser", "bob\n", "postgres.osUser must match .*"),
        ("postgres.settings.jit", "o\nn", "postgres.settings.jit must match .*"),
        ("images.pull", "often", "images.pull must be one of missing, never, always, null"),
        (
            "images.registries",
            {"https://ghcr.io": {}},
            "images.registries: .* is not the host of a registry, such as .*",
        ),
        (
            'images.registries["ghcr.io"].mirror',
            "x",
            r".*has an unknown field .mirror.; known fields: mirrors, insecure",
        ),
        ('images.registries["a.b"].mirrors', ["http://c"], r".*mirrors\[0\] must match .*"),
        ('images.registries["a.b"].insecure', "yes", ".*insecure must be true or false"),
        # A parent is checked like its leaves.
        ("cache", {"capacity": {"lowWatermark": 0.99}}, r".*lowWatermark must be less than .*"),
        ("cache.capacity", {"maxBytes": -1}, "cache.capacity.maxBytes must be at least 0"),
        ("log", "debug", "log must be an object"),
        ("log.level.x", 1, "log.level must be a string or null"),
        # What no JSON can carry.
        ("mine", float("nan"), "it must be JSON: .*"),
        ("mine", [float("inf")], "it must be JSON: .*"),
        ("mine", {"a": 2**70}, "it must be JSON: .*"),
        ("mine", "\ud800", "it must be JSON: .*"),
        ("mine", {1: 2}, "it must be JSON: .*"),
        ("mine", {1, 2}, "it must be JSON: .*"),
    ],
)
def test_an_invalid_value_is_refused_and_nothing_changes(
    config: Config, path: str, value: Any, details: str
) -> None:
    before = config.overrides(), config.effective()

    with pytest.raises(InvalidArgument, match="invalid config value") as caught:
        config.set(path, value)

    assert re.fullmatch(details, caught.value.details or "")
    assert (config.overrides(), config.effective()) == before


def test_null_stands_for_the_default(config: Config) -> None:
    config.set("orchestrator.jobs.maxIdentical", None)

    assert config.get("orchestrator.jobs.maxIdentical") is None
    assert config.get("orchestrator.jobs.maxIdentical", effective=True) == 2
    assert config.value("orchestrator.jobs.maxIdentical") == 2


def test_setting_an_object_replaces_what_was_set_inside_it(config: Config) -> None:
    config.set("cache.capacity.maxBytes", 7)
    config.set("cache.capacity", {"lowWatermark": 0.5})

    assert config.get("cache.capacity") == {"lowWatermark": 0.5}
    assert config.value("cache.capacity.maxBytes") == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cache", {"capacity": {"maxBytes": 7}}),
        ("cache.capacity", {"maxBytes": 7}),
        ("postgres.settings", {"jit": "off"}),
        ("postgres.settings.jit", "off"),
        ("log.level", "warn"),
    ],
)
def test_null_means_the_default_for_objects_and_their_members_too(
    config: Config, path: str, value: Any
) -> None:
    before = config.effective()
    config.set(path, None)
    assert config.effective() == before
    config.set(path, value)
    assert config.effective() != before
    config.set(path, None)
    assert config.effective() == before


def test_both_watermarks_change_in_one_call(config: Config) -> None:
    config.set("cache.capacity", {"lowWatermark": 0.4, "highWatermark": 0.5})

    assert config.value("cache.capacity.highWatermark") == 0.5


def test_a_value_set_does_not_follow_the_callers_object(config: Config) -> None:
    mine = {"a": 1}
    config.set("mine", mine)
    mine["a"] = 2

    assert config.get("mine.a") == 1


# Paths


@pytest.mark.parametrize("path", ["", "   "])
def test_a_path_is_required(config: Config, path: str) -> None:
    for call in (config.get, config.remove, lambda p: config.set(p, 1)):
        with pytest.raises(InvalidArgument, match="path is required"):
            call(path)


@pytest.mark.parametrize(
    "path",
    [
        ".",
        ".a",
        "a.",
        "a..b",
        "a b",
        "a[",
        "a[x]",
        "a[-1]",
        "a]",
        "a[0]b",
        "[0]",
        'a[""]',
        pytest.param("a." * 600 + "a", id="too long"),
    ],
)
def test_a_malformed_path_is_refused(config: Config, path: str) -> None:
    for call in (config.get, config.remove, lambda p: config.set(p, 1)):
        with pytest.raises(InvalidArgument, match="invalid path"):
            call(path)


def test_paths_reach_into_lists(config: Config) -> None:
    config.set("a.b[0].c", 1)
    config.set("a.b[1]", "second")

    assert config.overrides() == {"a": {"b": [{"c": 1}, "second"]}}
    assert config.get("a.b[0].c") == 1

    config.remove("a.b[0]")

    assert config.get(" a.b[0] ") == "second"


@pytest.mark.parametrize("path", ["list[3]", "list.key", "text.key", "object[0]", "text[0]"])
def test_a_path_must_fit_what_is_there(config: Config, path: str) -> None:
    for name, value in (("list", [1, 2]), ("text", "x"), ("object", {})):
        config.set(name, value)

    with pytest.raises(InvalidArgument, match="invalid path"):
        config.set(path, 1)
    with pytest.raises(NotFound):
        config.get(path)


def test_a_key_with_a_dot_is_quoted(config: Config) -> None:
    config.set('postgres.settings["pg_stat_statements.track"]', "all")

    assert config.value("postgres.settings") == {"pg_stat_statements.track": "all"}


# Removing


def test_removing_gives_back_what_is_in_force(config: Config) -> None:
    config.set("log.level", "error")
    config.set("mine.a", 1)

    assert config.remove("log.level") == "debug"
    assert config.remove("mine.a") is None
    assert config.overrides() == {"log": {}, "mine": {}}


def test_removing_what_is_not_set_is_not_found(config: Config) -> None:
    with pytest.raises(NotFound, match="path not found"):
        config.remove("log.level")


def test_a_removal_must_leave_a_valid_configuration(config: Config) -> None:
    config.set("cache.capacity", {"lowWatermark": 0.93, "highWatermark": 0.95})

    with pytest.raises(InvalidArgument, match="invalid config value"):
        config.remove("cache.capacity.highWatermark")

    assert config.value("cache.capacity.highWatermark") == 0.95


# Typed reading


def test_value_is_canonical(config: Config) -> None:
    config.set("log.level", " ERROR ")

    assert config.value("log.level") == "error"


def test_seconds_reads_durations(config: Config) -> None:
    assert config.seconds("instances.ttl") == 86400.0


def test_value_knows_only_the_schemas_paths(config: Config) -> None:
    config.set("mine", 1)

    with pytest.raises(KeyError):
        config.value("mine")


def test_settings_that_need_a_restart_are_listed(config: Config) -> None:
    assert config.needs_restart("snapshot.backend")
    assert config.needs_restart("snapshot")
    assert config.needs_restart("orchestrator")
    assert not config.needs_restart("log.level")
    assert not config.needs_restart("mine")
    assert not config.needs_restart("postgres.settings.work_mem")


# The file


def test_overrides_outlive_the_engine(config: Config, file: Path) -> None:
    config.set("instances.ttl", "1h")
    config.set("mine", {"umlaut": "ü", "exact": 1.0})

    assert Config(file).overrides() == config.overrides()
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == config.overrides()
    assert [path.name for path in file.parent.iterdir()] == ["config.json"]


def test_a_change_that_cannot_be_saved_is_not_made(
    config: Config, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)

    with pytest.raises(OSError, match="disk full"):
        config.set("log.level", "info")

    assert config.overrides() == {}
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff", "cannot be read"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":' * 2000 + b"1" + b"}" * 2000, "is not JSON"),
        (b"[]", "must hold a JSON object"),
    ],
    ids=range(6),
)
def test_a_broken_file_is_told_of_and_kept_when_it_is_replaced(
    file: Path, content: bytes, reason: str
) -> None:
    file.write_bytes(content)

    config = Config(file)

    assert config.overrides() == {}
    (problem,) = config.problems
    assert problem.path == ""
    assert str(file) in problem.reason
    assert reason in problem.reason
    assert file.read_bytes() == content
    config.set("log.level", "warn")
    assert file.with_name("config.json.rejected").read_bytes() == content
    assert Config(file).overrides() == {"log": {"level": "warn"}}
    assert Config(file).problems == []


def test_a_broken_file_stays_when_it_cannot_be_replaced(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text('{"log": {"level": "warn"}, "pool": 1}')
    config = Config(file)

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        config.set("pool.idle", "3m")

    assert Config(file).value("log.level") == "warn"


@pytest.mark.parametrize(
    ("written", "paths"),
    [
        ({"log": {"level": "loud"}}, ["log.level"]),
        (
            {"cache": {"capacity": {"lowWatermark": 0.99}}},
            ["cache.capacity.lowWatermark", "cache.capacity.highWatermark"],
        ),
        ({"postgres": {"roles": ["app", "pg_x"], "locale": "a b"}}, ["postgres.roles"]),
        ({"instances": {"ports": {"first": 30000}}}, ["instances.ports.first"]),
        ({"cache": []}, ["cache"]),
        ({"mine": float("nan"), "log": {"level": 1}}, ["mine", "log.level"]),
        ({"mine": [{"deep": 2**70}]}, ["mine"]),
        ({"mine": json.loads("[" * 150 + "]" * 150)}, ["mine"]),
        ({"instances": {"tll": "1h", "ttl": "soon"}}, ["instances.tll", "instances.ttl"]),
        ({"postgres": {"osUser": "a b", "settings": {"port\n": 1}}}, ["postgres.osUser"]),
        ({"postgres": {"settings": {"HBA_FILE": "x", "a b": 1}}}, ["postgres.settings.HBA_FILE"]),
        ({"postgres": {"settings": {"jit": 1, "JIT": 0}}}, ["postgres.settings.JIT"]),
        (
            {"images": {"registries": {"a.b": {"mirrors": ["c", "http://d"], "insecure": True}}}},
            ['images.registries["a.b"].mirrors'],
        ),
    ],
    ids=range(13),
)
def test_a_wrong_value_in_the_file_is_told_of_and_the_others_are_used(
    file: Path, written: dict[str, Any], paths: list[str]
) -> None:
    right = {"pool": {"idle": "3m"}, "unheard": {"of": [1]}}
    file.write_text(json.dumps(written | right))

    config = Config(file)

    assert {problem.path for problem in config.problems} >= set(paths)
    assert config.value("pool.idle") == "3m"
    assert config.get("unheard.of") == [1]
    assert config.value("log.level") == "debug"
    config.set("log.level", "warn")
    assert Config(file).problems == []


def test_a_value_that_this_machine_cannot_use_gives_way_to_the_default(config: Config) -> None:
    config.set("snapshot.backend", "btrfs")

    def choose(wanted: str) -> str:
        if wanted == "btrfs":
            raise InvalidArgument("no btrfs here")
        return wanted

    assert config.settle("snapshot.backend", choose) == "auto"
    (problem,) = config.problems
    assert str(problem) == ("snapshot.backend: no btrfs here; snapshot.backend is at the default")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("snapshot.backend", "btrfs"),
        ("snapshot", {"backend": "btrfs"}),
    ],
)
def test_a_value_that_this_machine_cannot_use_is_refused(
    config: Config, path: str, value: Any
) -> None:
    tried = []

    def check(wanted: str) -> None:
        tried.append(wanted)
        if wanted == "btrfs":
            raise InvalidArgument("no btrfs here")

    config.check("snapshot.backend", check)
    config.set("log.level", "warn")
    config.set("snapshot.backend", "copy")
    with pytest.raises(
        InvalidArgument, match=r"cannot use 'btrfs' for snapshot.backend: .*: no btrfs here"
    ):
        config.set(path, value)
    assert config.get("snapshot.backend") == "copy"
    assert tried == ["copy", "btrfs"]


# Listeners and threads


def test_listeners_hear_of_changes_after_they_are_made(config: Config) -> None:
    heard: list[tuple[str, Any]] = []
    end = config.on_change(lambda path: heard.append((path, config.value("log.level"))))

    config.set(" log.level ", "info")
    config.remove('["log"].level')
    with pytest.raises(InvalidArgument):
        config.set("log.level", "loud")
    end()
    end()
    config.set("log.level", "warn")

    assert heard == [("log.level", "info"), ("log.level", "debug")]


def test_a_failing_listener_is_logged_and_hurts_nobody(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def fail(_: str) -> None:
        raise RuntimeError("broken")

    config.on_change(fail)
    config.on_change(heard.append)
    with caplog.at_level(logging.ERROR):
        config.set("log.level", "info")

    assert heard == ["log.level"]
    assert "cannot apply the change of log.level" in caplog.text


def test_no_path_leads_deeper_than_answers_can_show(config: Config) -> None:
    for levels in (150, 450):
        with pytest.raises(InvalidArgument, match="invalid config value"):
            config.set(".".join("x" * levels), 1)
    config.set(".".join("x" * 90), 1)
    assert orjson.dumps(config.effective())


def test_nobody_waits_to_read_while_a_change_is_tried(config: Config) -> None:
    trying, go_on = threading.Event(), threading.Event()

    def check(_: object) -> None:
        trying.set()
        assert go_on.wait(60)

    config.check("snapshot.backend", check)
    change = threading.Thread(target=config.set, args=("snapshot.backend", "copy"))
    change.start()
    assert trying.wait(60)
    read: list[Any] = []
    reader = threading.Thread(
        target=lambda: read.extend(
            [config.get("log", effective=True), config.effective(), config.value("log.level")]
        )
    )
    reader.start()
    reader.join(60)
    assert len(read) == 3
    go_on.set()
    change.join()
    assert config.value("snapshot.backend") == "copy"


def test_changes_from_many_threads_all_count(config: Config, file: Path) -> None:
    def change(number: int) -> None:
        for turn in range(5):
            config.set(f"mine.thread{number}", turn)
            config.effective()

    threads = [threading.Thread(target=change, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert config.get("mine") == {f"thread{number}": 4 for number in range(6)}
    assert Config(file).overrides() == config.overrides()


# The schema and its document


def test_the_schema_is_valid_and_its_defaults_obey_it(config: Config) -> None:
    schema = config.schema()
    Draft202012Validator.check_schema(schema)

    Draft202012Validator(schema).validate(config.effective())


@pytest.mark.parametrize("path", LEAVES)
def test_every_path_has_a_type_a_default_and_a_description(path: str) -> None:
    leaf = LEAVES[path]

    assert {"type", "default", "description"} <= set(leaf)
    assert "null" in leaf["type"]


@pytest.mark.parametrize("path", LEAVES)
def test_every_path_is_documented_as_it_is(path: str) -> None:
    leaf = LEAVES[path]
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| `{path}` |")]

    assert len(rows) == 1, f"{path} needs one row in docs/configuration.md"
    _, values, default, restart, meaning = (c.strip() for c in rows[0].strip("|").split("|"))
    assert default == f"`{json.dumps(leaf['default'])}`"
    assert (restart == "yes") is leaf.get("x-restart", False)
    assert values
    assert meaning
    for choice in leaf.get("enum", []):
        assert choice is None or f"`{choice}`" in values


def test_no_other_path_is_documented() -> None:
    documented = re.findall(r"^\| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE)

    assert documented == list(LEAVES)
