"""Converters of other layouts of Human3.6M into MMPose's layout."""
