"""DICOM-RT: finding, reading and writing CT, RTSTRUCT and RTDOSE. Needs pydicom, imported where it is used."""
