"""Units of length in strangers' files."""

#: Meters per unit.
METERS = {'m': 1.0, 'cm': 1e-2, 'mm': 1e-3}
