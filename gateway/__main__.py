"""`python -m gateway` is `waystation`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
