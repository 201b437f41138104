"""What Airflow imports: the SQL that plans a run."""
