"""How a check fails: what was expected, what was found, and the likely cause."""

from collections.abc import Callable


class CheckFailure(AssertionError):  # noqa: N818 - what is found is a failure, not an error
    """A check that does not hold.

    Attributes:
        check: name of the check; filled in by the check itself.
        expected: what the contract asks for.
        got: what was found instead.
        remedy: the likely cause, and what to do.
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(expected, got, remedy)
        self.check = "check"
        self.expected = expected
        self.got = got
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.check}: expected {self.expected}, got {self.got}: {self.remedy}"


class NothingToCheck(Exception):  # noqa: N818 - it says that all is well
    """The adapter has nothing that the check is about, such as padding."""


def expect(holds: bool, expected: str, got: str, remedy: str) -> None:
    """Go on if it holds.

    Raises:
        CheckFailure: it does not.
    """
    if not holds:
        raise CheckFailure(expected, got, remedy)


def checked(name: str, run: Callable[[], None], said: Callable[[Exception], str]) -> bool:
    """Run a check; returns false where there was nothing to check.

    Args:
        name: of the check.
        run: raises `CheckFailure` or `NothingToCheck`, or returns.
        said: any other error in words.

    Raises:
        CheckFailure: of that name: what `run` found, or the error that it ended with.
    """
    try:
        run()
    except NothingToCheck:
        return False
    except CheckFailure as failure:
        failure.check = name
        raise
    except Exception as error:  # whatever a stranger's code raises is what was found
        remedy = "this check, called alone, shows the whole trace"
        failure = CheckFailure("no error", said(error), remedy)
        failure.check = name
        raise failure from error
    return True
