"""The figures that come with Barograph, one family per file; each enters by the entry points of ``barograph.plots``."""
