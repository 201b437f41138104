"""The data scientist's part: from boards to a model that may be put before a person.

train, export    need the train environment; everything else runs where the services do
evaluate         a model folder on boards that training did not see        tables    evaluation.csv
quantise         an int8 graph beside it, if it is as good                 curves    figures to look at
artefact         the contract test of a hand-over                          manifest  training_manifest.json
deliver          hand-over ──► version in MLflow ──► challenger
gate             version, champion ──gate set──► evidence ──gates/<model>.toml──► verdict
gate_set         images with truth: simulator, labelled folder, or reviews (reviewed)
"""
