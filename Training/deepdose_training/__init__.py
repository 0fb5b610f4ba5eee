"""Training and studying the models of DeepDosePredict; it knows the library, the library does not know it."""
