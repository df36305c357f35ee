"""Project files: ``sqlrs.toml`` says what the databases of a repository are.

``file`` finds and parses the file. ``project`` loads it: ``shape`` checks it against the JSON
schema, ``references`` what no schema can. A ``database`` becomes the request of a chain.
``checks`` looks at the files and programs that the stages name. The engine never reads the file.
"""
