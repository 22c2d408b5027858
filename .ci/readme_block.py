"""Print the code block of README.md that follows ``<!-- ci: NAME -->``: CI runs what the README says, word for word."""

import re
import sys
from pathlib import Path

name = sys.argv[1]
text = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
blocks = re.findall(rf"<!-- ci: {re.escape(name)} -->\s*```\w*\n(.*?)```", text, flags=re.DOTALL)
if len(blocks) != 1:
    sys.exit(f"README.md must hold exactly one code block after '<!-- ci: {name} -->', found {len(blocks)}")
print(blocks[0])
