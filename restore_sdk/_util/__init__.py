"""What all use: files on disk, text for terminals, work in order, OpenCV's import."""
