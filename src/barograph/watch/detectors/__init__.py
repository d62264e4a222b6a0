"""One detector per file; they enter by the entry points ``barograph.detectors``, like those of strangers."""
