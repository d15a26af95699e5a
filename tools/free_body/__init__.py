"""Construction of the free body from MakeHuman's assets."""
