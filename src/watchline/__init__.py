"""watchline: the production line for watch-time models of short-video feeds."""

__version__ = "0.1.0"
