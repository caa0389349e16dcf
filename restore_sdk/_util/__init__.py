"""What all use: atomic writes, locks, owned files, text for terminals, work in order, clocks, OpenCV's import."""
