"""The patient: the Case that travels through the system, its ROIs and their bits, structure names and roles."""
