"""The tests of the Array API's own suite that do not pass, by the reason."""

from pathlib import Path

SUITE = Path(__file__).parent / "array_api_suite"
LEFT_OUT = SUITE / "left_out.txt"
OF_REAL_NUMBERS = SUITE / "of_real_numbers.txt"


def left_out() -> dict[str, list[str]]:
    """The tests below each reason."""
    found: dict[str, list[str]] = {}
    for paragraph in LEFT_OUT.read_text().split("\n\n")[1:]:
        lines = paragraph.strip().splitlines()
        words = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
        found[" ".join(words)] = [line for line in lines if not line.startswith("#")]
    return found
