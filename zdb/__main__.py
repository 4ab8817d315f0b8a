"""``python -m zdb``: the ``zdb`` command."""

import sys

from zdb.cli.main import main

sys.exit(main())
