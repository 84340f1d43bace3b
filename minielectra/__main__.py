"""The command line, as `python -m minielectra`."""

import sys

from minielectra.cli.main import main

sys.exit(main())
