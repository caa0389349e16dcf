"""``python -m restore_sdk`` is the command ``restore-sdk``."""

import sys

from restore_sdk.cli.main import main

sys.exit(main())
