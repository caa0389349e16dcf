"""The two generators, their discriminators and the parts they are made of."""
