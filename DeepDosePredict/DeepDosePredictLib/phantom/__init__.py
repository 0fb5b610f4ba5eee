"""The made-up patient of demo and tests: anatomy, plan, and its DICOM files."""
