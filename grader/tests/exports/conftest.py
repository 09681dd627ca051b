"""The recorded boots lie in another folder of tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "replay"))
