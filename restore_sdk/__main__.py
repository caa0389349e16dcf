"""``python -m restore_sdk`` is the command ``restore-sdk``."""

import sys

from restore_sdk.cli import main

sys.exit(main())
