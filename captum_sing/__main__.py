"""``python -m captum_sing`` is ``captum-sing``."""

from captum_sing.cli import main

if __name__ == "__main__":
    main()
