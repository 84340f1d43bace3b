"""The command line, as `python -m minielectra`."""

import sys

from minielectra.cli.entry import main

sys.exit(main())
