"""The data scientist's part: simulated data, training, export, evaluation. Only train and export need the train environment."""
