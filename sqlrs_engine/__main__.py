"""``python -m sqlrs_engine``."""

import sys

from sqlrs_engine.cli import main

sys.exit(main())
