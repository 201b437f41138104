"""What the components agree on. Pure: nothing here reaches a network, a store or a model.

topics          names and settings of every topic
avro/           the schemas, the source of everything below
records         the same as typed values
validity        which record is refused, and why
compatibility   which schema change is refused, and why
object_keys     where a frame's image lies
checks/         the same for dataframes (pandera)
settings        one tree, read once
errors, logs    how a failure and an event look everywhere
"""
