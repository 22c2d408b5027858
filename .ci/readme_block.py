"""Print the code block that follows ``<!-- ci: NAME -->`` (or ``<!-- file: NAME -->``) in README.md or another page.

    python3 .ci/readme_block.py "ci: main"
    python3 .ci/readme_block.py "file: step.py" docs/tutorials/invent-a-method.md

CI runs what the documentation says, word for word.
"""

import re
import sys
from pathlib import Path

marker, page = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "README.md"
text = Path(__file__).parents[1].joinpath(page).read_text(encoding="utf-8")
blocks = re.findall(rf"<!-- {re.escape(marker)} -->\s*```\w*\n(.*?)```", text, flags=re.DOTALL)
if len(blocks) != 1:
    sys.exit(f"{page} must hold exactly one code block after '<!-- {marker} -->', found {len(blocks)}")
print(blocks[0])
