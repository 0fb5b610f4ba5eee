"""What a user starts: the command line, one patient, cohorts, evaluation."""
