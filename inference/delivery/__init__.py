"""The data scientist's part: simulated and labelled boards, training, export, evaluation. Only training and export need torch."""
