"""Shared parts of the tests. Doubles stand only at the edges; between them is the real code.

Waiting:
    ``waiting``: ``eventually``, the only way in which tests wait

Real things, as fixtures or context managers:
    ``fix_engine``: the engine as a process, and a client of its API
    ``fix_store``: an engine's parts in the test's own process
    ``fix_postgres``: distributions and clusters
    ``fix_liquibase``: Liquibase by itself
    ``fix_mounts``: filesystems in loop-mounted files
    ``fix_images``: a registry with images; made of ``registry``, ``token_server``,
        ``fault_proxy``, ``images``, ``postgres_images`` and ``debian_packages``
    ``image_engines``: what tests of images ask of an engine
    ``image_roots``: root file systems of images, of this machine's own files
    ``migration_tools``: Alembic, Knex and the like, from their registries
    ``base_states``: base states, made once per run
    ``directories``: deletes what engines leave

Doubles of PostgreSQL, psql and Liquibase, by package:
    ``cache_fakes``, ``http_fakes``, ``image_fakes``, ``instance_fakes``, ``liquibase_fakes``,
    ``prepare_fakes``, ``run_fakes``, ``programs``; ``fake_image_roots`` are images with
    ``elf_files`` that no one can run

Double of a registry:
    ``registry_double``: answers what a test lets it answer

Clients and observers:
    ``cli_replay``: the unmodified sqlrs CLI, from recordings
    ``shell``: the commands, as processes
    ``typing_at_terminals``: a command at a terminal, and answers to its questions
    ``remote_client``: a client on another machine
    ``run_reader``: reads the output of a run
    ``psql_opens``: the files that psql opens
    ``metric_samples``: values of metrics

Data:
    ``store_samples``: records
    ``dump_archives``, ``real_dumps``: archives of pg_dump, written byte by byte or by itself
    ``recipes``: the recipes of the documents, and changes to their examples
    ``prepare_requests``: prepare requests of one stage
    ``psql_options``: psql's options, and command lines made of them
"""
