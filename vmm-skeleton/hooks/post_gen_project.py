"""After `cookiecutter vmm-skeleton/`: adds starters, checks, handouts and prebuilt objects.

Rendered by cookiecutter, which runs it inside the new folder. `vmmlab new` does without it.
"""

import sys
from pathlib import Path

from vmmlab.course.model import load
from vmmlab.base.errors import VmmlabError
from vmmlab.images import prebuilt
from vmmlab.workspace.model import populate

TEMPLATE = Path({{ "." | vmmlab_absolute }})

try:
    populate(Path.cwd(), load(TEMPLATE.parent), prebuilt.place)
except VmmlabError as error:
    sys.exit(str(error))
