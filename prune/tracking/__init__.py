"""Where figures go beside metrics.jsonl: one small protocol, and who speaks it."""
