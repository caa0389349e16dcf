"""What image files hold besides pixels: containers, directories of tags, metadata, how they were encoded.

Bytes in, bytes out, no pixel is decoded here. Everything reads hostile bytes: loops and sizes are bounded.
"""
