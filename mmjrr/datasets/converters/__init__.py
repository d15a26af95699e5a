"""Converters of other layouts of Human3.6M into MMPose's layout."""

#: Camera file of a dataset in MMPose's layout.
CAMERA_FILE = 'annotation_body3d/cameras.pkl'
