"""Human3.6M as it is released: archives of videos and of joints, and ``metadata.xml``.

For each subject it has three archives, ``D2_Positions`` and ``D3_Positions_mono`` (CDF files of
32 joints a frame, in pixels and in millimetres before the camera) and ``Videos`` (50 frames a
second). Their files have the take's and the camera's name: ``Directions 1.54138969.cdf``.
"""
