"""Arrays: what is an image, what is a mask, a mask's border, PSNR."""
