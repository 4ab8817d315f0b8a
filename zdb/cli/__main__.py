"""``python -m zdb.cli``."""

import sys

from zdb.cli.main import main

sys.exit(main())
