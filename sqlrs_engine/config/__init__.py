"""The engine's configuration.

* ``schema``: paths, types, defaults and descriptions
* ``config``: the values in force, which can change at run time and are kept in a file
* ``paths``: the syntax of paths
* ``validation``, ``reserved``, ``role_names``: values that are refused
* ``problems``: mistakes in a file that someone edited by hand
"""

from .config import TEMPORARY, Config
from .problems import Problem

__all__ = ["TEMPORARY", "Config", "Problem"]
