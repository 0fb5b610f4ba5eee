"""How far a prediction can be trusted: whether the patient is of the model's kind, and between which values its plan
will lie. What is needed for both is measured once, on patients, and kept in the model's contract as numbers."""
