"""The engine's configuration.

* ``schema``: paths, types, defaults and descriptions
* ``config``: the values in force, changed at run time and kept in a file
* ``paths``: paths of values
* ``validation``, ``reserved``, ``role_names``: values that are refused
* ``problems``: mistakes in a file that was edited by hand
"""

from .config import TEMPORARY, Config
from .problems import Problem

__all__ = ["TEMPORARY", "Config", "Problem"]
