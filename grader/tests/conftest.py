"""The tests read English, whatever language the shell speaks."""

from __future__ import annotations

import os

os.environ["LC_ALL"] = "C.UTF-8"
