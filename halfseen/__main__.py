"""`python -m halfseen`, which torchrun needs."""

from halfseen.cli import main

if __name__ == "__main__":
    main()
