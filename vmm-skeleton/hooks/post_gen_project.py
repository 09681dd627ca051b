"""After `cookiecutter vmm-skeleton/`: adds starters, checks, handouts and prebuilt labs.

Rendered by cookiecutter, which runs it inside the new folder. `vmmlab new` does without it.
"""

import sys
from pathlib import Path

from vmmlab.base.errors import VmmlabError
from vmmlab.course.load import load_course
from vmmlab.student.new import populate

TEMPLATE = Path({{ "." | vmmlab_absolute }})

try:
    populate(Path.cwd(), load_course(TEMPLATE.parent))
except VmmlabError as error:
    sys.exit(str(error))
