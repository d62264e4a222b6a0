"""Every error and warning that Barograph raises, drawn as one tree.

    BarographError
    |-- MisuseError                  the caller's mistake; raised at once, nothing half written
    |   |-- InvalidMetricError       a metric's name or value cannot be recorded (also a TypeError)
    |   |-- InvalidNameError         a name with control characters or path separators (also a ValueError)
    |   |-- InvalidConfigError       a configuration cannot be written down
    |   |-- InvalidCriterionError    a success criterion cannot be read
    |   |-- RunExistsError           the directory already holds a run
    |   |-- RunBusyError             another process is writing that run
    |   |-- RunNotFoundError         no run is there
    |   |-- RunClosedError           the run was finished
    |   |-- MetricNotFoundError      the run did not log that metric
    |   |-- QueryError               a filter or an SQL query cannot be answered
    |   `-- ReportError              a report cannot be made or verified
    |-- FormatError                  a file is not what its name says
    |-- RecordingError               the recorder could not write (raised only with strict=True)
    |-- PluginNotFoundError          no installed distribution offers that name
    `-- MissingDependencyError       a library that this needs is not installed

    BarographWarning
    |-- CadenceWarning               the two tiers do not align
    |-- DetailBudgetWarning          a detail record is larger than its level's budget
    |-- RecordingWarning             the recorder failed and was detached; training goes on
    `-- PlotWarning                  a figure could not be drawn; the others were

An error names the offending value and ends with the next step.
"""

from __future__ import annotations


class BarographError(Exception):
    """Root of every error that Barograph raises."""


class MisuseError(BarographError, ValueError):
    """The caller asked for something that cannot be recorded."""


class InvalidMetricError(MisuseError, TypeError):
    """A metric's name or value cannot be recorded."""


class InvalidNameError(MisuseError):
    """A run, split, phase or file name has characters that would not survive on disk."""


class InvalidConfigError(MisuseError, TypeError):
    """A configuration cannot be written down."""


class InvalidCriterionError(MisuseError):
    """A success criterion cannot be read."""


class RunExistsError(MisuseError):
    """The directory already holds a run, and resuming was not asked for."""


class RunBusyError(MisuseError):
    """Another living process is writing the run."""


class RunNotFoundError(MisuseError):
    """There is no run at that path."""


class RunClosedError(MisuseError):
    """The run was finished; nothing can be recorded in it any more."""


class MetricNotFoundError(MisuseError):
    """The run did not log that metric."""


class QueryError(MisuseError):
    """A filter or an SQL query cannot be answered."""


class ReportError(MisuseError):
    """A report cannot be made or verified."""


class FormatError(BarographError):
    """A file is not what its name says it is."""


class RecordingError(BarographError):
    """The recorder could not write; raised only with ``strict=True``."""


class PluginNotFoundError(BarographError):
    """No installed distribution offers a plug-in of that name."""


class MissingDependencyError(BarographError, ImportError):
    """A library that this part of Barograph needs is not installed."""


class BarographWarning(UserWarning):
    """Root of every warning that Barograph issues."""


class CadenceWarning(BarographWarning):
    """The two tiers do not align, so full evaluations fall beside fast logs."""


class DetailBudgetWarning(BarographWarning):
    """A detail record is larger than the budget of its level."""


class RecordingWarning(BarographWarning):
    """The recorder failed and was detached; training goes on."""


class PlotWarning(BarographWarning):
    """A figure could not be drawn; the others were."""
