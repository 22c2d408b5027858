"""How a command of the command line ended."""

from __future__ import annotations

from dataclasses import dataclass

ERROR = "canonbench: error: "


@dataclass(frozen=True)
class Outcome:
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The message of the one error line, which must be the last line of standard error."""
        lines = self.err.splitlines()
        assert [line.startswith(ERROR) for line in lines] == [False] * (len(lines) - 1) + [True], self.err
        assert "Traceback" not in self.err
        return lines[-1].removeprefix(ERROR)
