"""`python -m gradloom`: the command `gradloom`."""

from gradloom_command import main

if __name__ == "__main__":
    raise SystemExit(main())
