"""Which tiles of a photograph the model sees, how they are cut and pasted, and one request on its way through them."""
