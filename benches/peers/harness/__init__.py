"""Parts of run.py: plan, measure, stats, tables, svg."""
