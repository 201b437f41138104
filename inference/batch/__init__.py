"""Jobs: what runs to its end and is started by Airflow, a cron or a person. `python -m inference.batch JOB --help`.

Every job is one command that may be run again: what it did already it does not do twice. Its result is one JSON document.
"""
