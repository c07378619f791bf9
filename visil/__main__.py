"""`python -m visil`: the command line, for who starts it by an interpreter (torchrun does)."""

from visil.cli.main import main

if __name__ == "__main__":
    main()
