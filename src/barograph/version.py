"""The version of the distribution, for modules that must not import the package itself."""

from typing import Final

VERSION: Final = "0.1.0"
