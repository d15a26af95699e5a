"""Human3.6M's release: archives of videos and of joints, and ``metadata.xml``.

Each subject has three archives: ``D2_Positions`` and ``D3_Positions_mono`` (CDF files of 32 joints
per frame, in pixels and in millimeters in the camera frame) and ``Videos`` (50 frames per second).
Their files are named after take and camera: ``Directions 1.54138969.cdf``.
"""
