"""Frames -> region vectors -> scores: the maths and the small networks of visil.

    Frames ─ backbone ─► stage maps ─ regions ─► whitening ─► attention | binarization ─► RegionVectors
    two RegionVectors ─ similarity ─► [Tq, Tt] ─ comparator ─► similarity ─► score

`network` puts the second line together. Import the modules by name: nothing is imported here, so that a
search that never sees a picture never loads timm.
"""
