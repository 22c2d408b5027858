"""Fail unless two row.json files hold the same row, but for what a machine's mood decides."""

import json
import sys
from pathlib import Path

MOOD = ("seconds", "peak_memory_bytes")
one, other = (json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:3])
differing = [key for key in one.keys() | other.keys() if key not in MOOD and one.get(key) != other.get(key)]
if differing:
    sys.exit(f"the two rows differ in {', '.join(sorted(differing))}")
print("the same row from the checkout and from the wheel")
