"""The command line."""

import os

# No pydantic plugins are used here, and the search for some reads the metadata of every installed
# package: 20 to 100 ms. This must be set before the first pydantic model is made.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
