"""`python -m chatterm`, and the command `chatterm`."""

import sys


def main() -> None:
    """The program, which can be interrupted while it is still being imported, too."""
    try:
        from chatterm.cli import main as program

        program()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 and the signal's number, as shells count


if __name__ == "__main__":
    main()
