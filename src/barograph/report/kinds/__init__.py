"""The kinds of report that come along; each enters by the entry point group ``barograph.reports``, as others do."""
