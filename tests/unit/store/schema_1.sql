-- The first released schema, to which the upgrades of later versions apply. Never edited.

CREATE TABLE states (
    state_id                TEXT NOT NULL PRIMARY KEY,
    parent_state_id         TEXT REFERENCES states (state_id) ON DELETE RESTRICT,
    image_id                TEXT NOT NULL,
    prepare_kind            TEXT NOT NULL,
    prepare_args_normalized TEXT NOT NULL,
    created_at              TEXT NOT NULL,
    size_bytes              INTEGER,
    last_used_at            TEXT,
    use_count               INTEGER NOT NULL DEFAULT 0,
    min_retention_until     TEXT,
    boot_id                 TEXT
);

CREATE INDEX states_by_parent ON states (parent_state_id);

CREATE INDEX states_by_image ON states (image_id);

CREATE INDEX states_undurable ON states (state_id) WHERE boot_id IS NOT NULL;

CREATE TABLE instances (
    instance_id TEXT NOT NULL PRIMARY KEY,
    image_id    TEXT NOT NULL,
    state_id    TEXT NOT NULL REFERENCES states (state_id) ON DELETE RESTRICT,
    created_at  TEXT NOT NULL,
    port        INTEGER NOT NULL UNIQUE,
    password    TEXT NOT NULL,
    ttl         REAL,
    protected   BOOLEAN NOT NULL DEFAULT 0,
    expires_at  TEXT,
    activity_at TEXT,
    sessions    INTEGER NOT NULL DEFAULT 0,
    runtime_id  TEXT
);

CREATE INDEX instances_by_state ON instances (state_id);

CREATE INDEX instances_by_image ON instances (image_id);

CREATE TABLE names (
    name              TEXT NOT NULL PRIMARY KEY,
    instance_id       TEXT,
    image_id          TEXT NOT NULL,
    state_id          TEXT NOT NULL,
    state_fingerprint TEXT,
    last_used_at      TEXT,
    bound_at          TEXT NOT NULL
);

CREATE INDEX names_by_instance ON names (instance_id, bound_at, name);

CREATE INDEX names_by_state ON names (state_id);

CREATE TABLE jobs (
    job_id                  TEXT NOT NULL PRIMARY KEY,
    status                  TEXT NOT NULL,
    prepare_kind            TEXT NOT NULL,
    image_id                TEXT NOT NULL,
    created_at              TEXT NOT NULL,
    plan_only               BOOLEAN NOT NULL DEFAULT 0,
    resolved_image_id       TEXT,
    prepare_args_normalized TEXT,
    signature               TEXT,
    started_at              TEXT,
    finished_at             TEXT,
    result                  TEXT,
    error                   TEXT,
    request                 TEXT NOT NULL
);

CREATE INDEX jobs_by_signature ON jobs (signature, finished_at);

CREATE INDEX jobs_unfinished ON jobs (created_at)
WHERE status IN ('queued', 'running');

CREATE TABLE tasks (
    job_id            TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    task_id           TEXT NOT NULL,
    position          INTEGER NOT NULL,
    type              TEXT NOT NULL,
    status            TEXT NOT NULL,
    planner_kind      TEXT,
    input_kind        TEXT,
    input_id          TEXT,
    image_id          TEXT,
    resolved_image_id TEXT,
    task_hash         TEXT,
    output_state_id   TEXT,
    cached            BOOLEAN,
    instance_mode     TEXT,
    changeset_id      TEXT,
    changeset_author  TEXT,
    changeset_path    TEXT,
    args_summary      TEXT,
    PRIMARY KEY (job_id, task_id)
);

CREATE TABLE events (
    job_id   TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    line     BLOB NOT NULL,
    PRIMARY KEY (job_id, position)
) WITHOUT ROWID;

PRAGMA user_version = 1;
