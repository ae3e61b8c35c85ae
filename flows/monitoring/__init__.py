"""How a run goes: counters, progress, timeline, metrics, logs, and the record that stays of it."""
