"""What of jobs is not shown: values by their keys, whole workloads, and how long failed ones are kept.

In come the keys `redact`, `show_workloads` and `retention` of the configuration, and texts that jobs have brought:
workloads, errors, tracebacks, log lines. Out go the same texts without what the rules hide. Every outlet asks here:
pages, API, command line, logs, alerts, history, and the workers before they report an error. Nothing but the
standard library and `gearman_client.text` is imported, since workers import it. Open `function_privacy` first;
`keyed_values` finds keys and their values in a text.
"""

from __future__ import annotations

from gearman_manager.privacy.function_privacy import MARK, FunctionPrivacy
from gearman_manager.privacy.privacy import Privacy

__all__ = ["MARK", "FunctionPrivacy", "Privacy"]
