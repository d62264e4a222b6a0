"""``python -m barograph.cli``: the same as the command ``barograph``."""

import sys

from barograph.cli import main

sys.exit(main())
