"""Units of length in files of other projects."""

#: Meters per unit.
METERS = {'m': 1.0, 'cm': 1e-2, 'mm': 1e-3}


def meters_per(unit: str, argument: str = 'unit') -> float:
    """Return the length of a unit in meters.

    Args:
        unit: The unit, one of :data:`METERS`.
        argument: Name of the argument that says the unit, for the message.

    Raises:
        ValueError: The unit is unknown.

    >>> meters_per('cm')
    0.01
    """
    if unit not in METERS:
        raise ValueError(f'{argument}: found {unit!r}, expected one of {sorted(METERS)}')
    return METERS[unit]
