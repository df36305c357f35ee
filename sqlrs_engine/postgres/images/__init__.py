"""Images of registries: pulled, unpacked and made runnable without a container.

* ``references``: the names of images, such as ``postgis/postgis:17-3.5``
* ``registry``, ``registry_hosts``, ``registry_auth``, ``credentials``: the client of registries,
  with ``registry_http`` for the requests and ``registry_errors`` for what can go wrong
* ``manifests``, ``platforms``: what an image consists of, for this machine
* ``layers``, ``tar_stream``, ``tar_sparse``, ``decompression``: a layer as entries and contents
* ``root_files``: entries become a root file system
* ``image_store``, ``image_layout``, ``file_locks``: the images on disk, shared by processes
* ``pull``, ``downloads``: an image comes from a registry
* ``archives``, ``archive_parts``: an image comes from a file
* ``assembly``, ``background``: its layers are fetched and unpacked at once, then put together
* ``programs``: the PostgreSQL of an image, as something that runs
* ``relocation``: makes it run in place, with ``redirection``, ``library_cache``, ``wrappers``
* ``server_programs``, ``server_data``, ``server_environment``, ``locales``: what it consists of
* ``root_tree``, ``elf``: a root file system and its programs, as files
* ``progress``, ``progress_lines``: how far a pull is
"""
