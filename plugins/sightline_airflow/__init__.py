"""What Airflow imports: operators, commands, triggers, and the SQL that plans a run."""
