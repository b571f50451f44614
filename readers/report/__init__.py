"""A report on stores: one pass over their data, what is found wrong with them, and the page that shows it."""

from .findings import FINDING_KINDS, Finding, FindingKind
from .reporting import Report, StoreReport, report_stores

__all__ = ["FINDING_KINDS", "Finding", "FindingKind", "Report", "StoreReport", "report_stores"]
