"""`python -m feature_assets.cli`."""

from feature_assets.cli import main

main()
