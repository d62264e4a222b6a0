"""The format: what a run's files hold, how bytes get into them and come back, and where they lie.

Loops that emit facts by themselves use the four functions named here.
"""

from barograph.facts.builders import build_event_payload
from barograph.facts.writers import append_jsonl_event, append_scalars_csv, ensure_facts_dir

__all__ = ["append_jsonl_event", "append_scalars_csv", "build_event_payload", "ensure_facts_dir"]
