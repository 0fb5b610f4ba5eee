"""DeepDosePredict: radiotherapy dose prediction for head and neck. Research use only, not for clinical use."""

__version__ = "0.2.0"

RESEARCH_USE = "research use only, not for clinical use"
